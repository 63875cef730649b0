"""Atomic file writes: after a power cut a file has the old or the new content, never a mix."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def atomic_file(path: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Yield a temporary file that replaces `path`, with its mode, if the block succeeds.

    The content is on the disk on exit. Until then `path` is unchanged, even after a crash.
    Raises `OSError`.
    """
    try:
        # mkstemp never opens an existing file or a planted symlink. The content may be secret.
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:64]}.", dir=path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    scratch = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            # Without this sync a power cut after the rename can leave an empty file, ...
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    # ... and without this one it can undo the rename.
    sync_directory(path.parent)


def create_file(path: Path, content: bytes) -> None:
    """Write a new file of mode 0600, durably; leave one that another process has made meanwhile.

    Raises `OSError`.
    """
    # mkstemp: mode 0600, never an existing file or a planted link.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    scratch = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link never replaces an existing file.
        path.hardlink_to(scratch)
    except FileExistsError:
        pass
    finally:
        scratch.unlink(missing_ok=True)
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
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
