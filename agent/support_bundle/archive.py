"""Writing a bundle: for this user alone, whole or not at all."""

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
    """Write `members` to `file`, a tar.gz, on the disk before this returns. Raises `OSError`.

    It is written under a name of its own and then renamed; a file that is there is replaced.
    `at_seconds` since 1970 is the time that all of it bears.
    """
    # Made by mkstemp: mode 0600, and never a file or link that somebody else laid there.
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
    # Without a name in its head: that would be the scratch file's.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=at_seconds) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for name, content in members.items():
            about = tarfile.TarInfo(f"{_FOLDER}/{name}")
            about.size, about.mtime, about.mode = len(content), at_seconds, _MODE
            archive.addfile(about, io.BytesIO(content))
