"""Small files that a power cut leaves whole: the old content or the new, never a part."""

import os
from pathlib import Path


def write_durably(path: Path, content: bytes, *, mode: int) -> None:
    """Replace `path` by `content`, on the disk before this returns. Raises `OSError`.

    A temporary file is written and synced, renamed over the old one, and the directory
    synced, in this order: after a rename without the first sync a power cut can leave an
    empty file, without the last one the old name.
    """
    scratch = path.with_name(path.name + ".new")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Put the names in `directory` on the disk. Raises `OSError`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
