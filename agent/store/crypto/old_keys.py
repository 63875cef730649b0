"""Old encryption keys: each in a file of the storage directory, as long as anything needs it.

A key is kept here before another one takes its place in the key file (`rotate`), and before this
process begins to use another one. So after a crash between two steps every key that has encrypted
something is in a file. *Obvious:* several keys in the key file. *Why not:* a credential cannot be
written, and the version before reads one key.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from agent.store.crypto.vault import UnusableKey, Vault, open_vault, read_vault, write_new_key
from sync.runtime.files.atomic_file import atomic_file, sync_directory
from sync.runtime.files.scratch_file import abandoned_in
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
_PREFIX = "encryption.key.old-"


def open_with_old_keys(key_file: Path, directory: Path) -> Vault:
    """Open the vault as `open_vault` does, with the old keys in `directory`."""
    return open_vault(key_file).with_old(read_old_keys(directory))


def read_with_old_keys(key_file: Path, directory: Path) -> Vault:
    """Open the vault as `read_vault` does, with the old keys in `directory`. Changes nothing."""
    return read_vault(key_file).with_old(read_old_keys(directory))


def read_old_keys(directory: Path) -> list[Vault]:
    """Return the old keys that are kept, without those that are overwritten already."""
    found = []
    for file in _files(directory):
        with suppress(UnusableKey, OSError):
            found.append(read_vault(file))
    return found


def keep_as_old(vault: Vault, directory: Path) -> Path:
    """Keep the key of `vault`, on the disk on return; return its file. Idempotent.

    Raises `OSError`.
    """
    file = directory / f"{_PREFIX}{vault.name}"
    with suppress(UnusableKey, OSError):
        if read_vault(file).has_key_of(vault):
            return file
    with atomic_file(file) as kept:
        kept.write(vault.key_text())
    return file


def rotate(key_file: Path, directory: Path) -> Vault:
    """Replace the key by a new one, and keep the old one; return the new vault.

    Raises `UnusableKey` or `OSError`. After a crash anywhere the command can be run again.
    """
    keep_as_old(read_vault(key_file), directory)
    return write_new_key(key_file)


def destroy_old_keys(directory: Path, needed: set[bytes]) -> None:
    """Overwrite and delete the old keys but those with a `needed` header. Raises `OSError`.

    So are copies of keys that a kill left unfinished.
    """
    for scratch in abandoned_in(directory):
        _overwrite(scratch)
        scratch.unlink()
    for file in _files(directory):
        try:
            vault = read_vault(file)
        except UnusableKey:
            vault = None
        if vault is not None and vault.header in needed:
            continue
        _overwrite(file)
        file.unlink()
        sync_directory(directory)
        if vault is not None:
            log_event(_log, logging.INFO, "store.old_key_destroyed", key=vault.name)


def _files(directory: Path) -> Iterator[Path]:
    yield from sorted(directory.glob(f"{_PREFIX}*"))


def _overwrite(file: Path) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.write(descriptor, bytes(os.fstat(descriptor).st_size))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
