"""Head office's private keys, in one PEM file: the newest first, older ones still open bundles."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from sync.protocol.bundle.sealing import key_id_of
from sync.receiver.config import ReceiverSettings
from sync.runtime.files.atomic_file import atomic_file, create_file
from sync.runtime.files.private_files import make_private_directory, read_secret_file
from sync.runtime.settings.setting_errors import ConfigurationError, SettingError

_SETTING = "storage.private_key_file"
_FILE_NAME = "hq.private-key.pem"
_MAX_BYTES = 64 * 1024
_BLOCK = re.compile(rb"-----BEGIN PRIVATE KEY-----.*?-----END PRIVATE KEY-----", re.DOTALL)


def private_key_path(settings: ReceiverSettings) -> Path:
    """Return the path of the file: the configured one, else in the storage directory."""
    return settings.storage.private_key_file or settings.storage.directory / _FILE_NAME


def read_private_keys(path: Path) -> list[X25519PrivateKey]:
    """Return the keys in the file, the newest first; none if there is no file.

    Raises `ConfigurationError` if it holds none, and `OSError`.
    """
    try:
        content = read_secret_file(path, _MAX_BYTES, make_private=False)
    except FileNotFoundError:
        return []
    keys = [_read(path, block) for block in _BLOCK.findall(content)]
    if not keys:
        raise _error(path)
    return keys


def by_id(keys: Sequence[X25519PrivateKey]) -> Mapping[str, X25519PrivateKey]:
    """Return the keys by the ids of their public keys."""
    return {key_id_of(key.public_key()): key for key in keys}


def add_private_key(path: Path, key: X25519PrivateKey) -> None:
    """Put a key before those in the file, or into a new file of mode 0600.

    A new file that another process makes meanwhile stays as it is. Raises `OSError`.
    """
    new = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    if not path.parent.exists():
        make_private_directory(path.parent)
    try:
        before = read_secret_file(path, _MAX_BYTES)
    except FileNotFoundError:
        create_file(path, new)
        return
    with atomic_file(path) as file:
        file.write(new + before)


def public_pem(key: X25519PrivateKey) -> str:
    """Return the public key as PEM."""
    public = key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _read(path: Path, block: bytes) -> X25519PrivateKey:
    try:
        key = load_pem_private_key(block, None)
    except (ValueError, TypeError):
        raise _error(path) from None
    if not isinstance(key, X25519PrivateKey):
        raise _error(path)
    return key


def _error(path: Path) -> ConfigurationError:
    message = (
        "this is not a file that `loyalty-hq keys` has made; restore it from a backup: without it"
        " no bundle can be read that is sealed for its keys"
    )
    return ConfigurationError([SettingError(str(path), _SETTING, message)])
