"""Names and small files that a power cut leaves whole: the old or the new, never a part."""

import contextlib
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


def make_directory(directory: Path) -> None:
    """Make `directory` and what is missing above it, for this user alone. Raises `OSError`.

    The names are on the disk before this returns: whatever is synced within could not be found
    again without them.
    """
    missing = [place for place in (directory, *directory.parents) if not place.exists()]
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for place in missing:
        # Where one may make names and not read them there is no syncing either.
        with contextlib.suppress(PermissionError):
            sync_directory(place.parent)


def sync_directory(directory: Path) -> None:
    """Put the names in `directory` on the disk. Raises `OSError`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
