"""Write the bundle atomically, mode 0600."""

import gzip
import io
import os
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from agent.store.files.atomic_write import sync_directory

_FOLDER = "loyalty-agent-support"
_MODE = 0o600


def write_bundle(file: Path, members: Mapping[str, bytes], *, at_seconds: int) -> None:
    """Write `members` to `file`, a tar.gz; durable on return. Raises `OSError`.

    Writes a temporary file and renames it; an existing file is replaced. `at_seconds`, a Unix
    time, becomes the modification time of every member.
    """
    # mkstemp: mode 0600, and never an existing file or a planted symlink.
    descriptor, scratch = tempfile.mkstemp(prefix=f".{file.name[:64]}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as target:
            _write(target, members, at_seconds)
            target.flush()
            os.fsync(target.fileno())
        Path(scratch).replace(file)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
    sync_directory(file.parent)


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
