"""Write the bundle atomically, mode 0600."""

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from sync.runtime.atomic_file import atomic_file

_FOLDER = "loyalty-agent-support"
_MODE = 0o600


def write_bundle(file: Path, members: Mapping[str, bytes], *, at_seconds: int) -> None:
    """Write `members` to `file`, a tar.gz; durable on return. Raises `OSError`.

    An existing file is replaced. `at_seconds`, a Unix time, becomes the modification time of
    every member.
    """
    with atomic_file(file) as target:
        _write(target, members, at_seconds)


def _write(target: IO[bytes], members: Mapping[str, bytes], at_seconds: int) -> None:
    # An empty name in the gzip header: the default is the temporary file's name.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=at_seconds) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for name, content in members.items():
            about = tarfile.TarInfo(f"{_FOLDER}/{name}")
            about.size, about.mtime, about.mode = len(content), at_seconds, _MODE
            archive.addfile(about, io.BytesIO(content))
