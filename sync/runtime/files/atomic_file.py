"""Atomic file writes: after a power cut a file has the old or the new content, never a mix."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sync.runtime.files.scratch_file import scratch_beside


@contextlib.contextmanager
def atomic_file(path: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Yield a temporary file that replaces `path`, with its mode, if the block succeeds.

    The content is on the disk on exit. Until then `path` is unchanged, even after a crash.
    Raises `OSError`.
    """
    with (
        scratch_beside(path) as (descriptor, scratch),
        os.fdopen(descriptor, "wb", closefd=False) as file,
    ):
        yield file
        file.flush()
        os.fchmod(descriptor, mode)
        # Without this sync a power cut after the rename can leave an empty file, ...
        os.fsync(descriptor)
        scratch.replace(path)
    # ... and without this one it can undo the rename.
    sync_directory(path.parent)


def create_file(path: Path, content: bytes) -> None:
    """Write a new file of mode 0600, durably; leave one that another process has made meanwhile.

    Raises `OSError`.
    """
    with (
        scratch_beside(path) as (descriptor, scratch),
        os.fdopen(descriptor, "wb", closefd=False) as file,
    ):
        file.write(content)
        file.flush()
        os.fsync(descriptor)
        # Unlike a rename, a link never replaces an existing file.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(scratch)
    sync_directory(path.parent)


def make_directory(directory: Path) -> None:
    """Create `directory` and its missing parents with mode 0700. Raises `OSError`.

    The new directory entries are on the disk on return: without them a power cut would lose
    every file inside, synced or not.
    """
    missing = [place for place in (directory, *directory.parents) if not place.exists()]
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for place in missing:
        # A parent that may be written but not read cannot be synced.
        with contextlib.suppress(PermissionError):
            sync_directory(place.parent)


def sync_directory(directory: Path) -> None:
    """Sync the entries of `directory` to disk. Raises `OSError`."""
    _sync(directory, os.O_DIRECTORY)


def sync_file(file: Path) -> None:
    """Sync the content of `file` to disk. Raises `OSError`."""
    _sync(file)


def _sync(path: Path, flags: int = 0) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
