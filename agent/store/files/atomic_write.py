"""Atomic file writes: after a power cut a file holds the old or the new content, never a mix."""

import contextlib
import os
from pathlib import Path


def write_durably(path: Path, content: bytes, *, mode: int) -> None:
    """Atomically replace `path` by `content`; synced to disk on return. Raises `OSError`.

    Order: write and sync a temporary file, rename it over `path`, sync the directory. Without the
    first sync a power cut can leave an empty file; without the last one the rename can be lost.
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
    """Create `directory` and its missing parents with mode 0700. Raises `OSError`.

    The directory entries are synced on return; a file synced inside would otherwise be unreachable
    after a power cut.
    """
    missing = [place for place in (directory, *directory.parents) if not place.exists()]
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for place in missing:
        # A parent that may be written but not read cannot be synced either.
        with contextlib.suppress(PermissionError):
            sync_directory(place.parent)


def sync_directory(directory: Path) -> None:
    """Sync the entries of `directory` to disk. Raises `OSError`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
