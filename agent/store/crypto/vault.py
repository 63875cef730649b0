"""Encrypts e-mail addresses on the disk of the POS machine.

AES-256-GCM with a random nonce for each address. The session is the associated data, so a
ciphertext copied to another row does not decrypt. A second key, derived from the same secret, makes
keyed digests (HMAC) that recognise a repeated answer after its address is erased; a plain hash of
an address could be guessed.
"""

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sync.runtime.files.atomic_file import atomic_file, sync_directory
from sync.runtime.files.private_files import read_secret_file

KEY_BYTES = 32
OWN_KEY_FILE = "encryption.key"
_MAX_KEY_FILE_BYTES = 4_096
_VERSION = b"\x01"
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
_HEADER_BYTES = len(_VERSION) + _KEY_ID_BYTES + _NONCE_BYTES


class UnusableKey(Exception):  # noqa: N818 - names the thing that is wrong
    """The encryption key file does not hold a key."""


class DecryptionError(Exception):
    """A ciphertext does not decrypt: made with another key, moved, or damaged."""


class OtherKeyError(DecryptionError):
    """A ciphertext was made with a key that this vault has not: it may come back."""


def is_encrypted(stored: bytes) -> bool:
    """Return whether `stored` is a ciphertext. JSON never begins with the version byte."""
    return stored.startswith(_VERSION)


class Vault:
    """Encrypts and decrypts with keys derived from one secret of 32 bytes.

    Also decrypts, and recognises, what was encrypted with the `old` keys that are still kept.
    """

    def __init__(self, secret: bytes, old: Sequence["Vault"] = ()) -> None:
        self._secret = secret
        self._old = {vault.header: vault for vault in old}
        self._cipher = AESGCM(_derive(secret, b"seal"))
        self._digest_key = _derive(secret, b"mark")
        self._key_id = hashlib.sha256(_derive(secret, b"name")).digest()[:_KEY_ID_BYTES]

    @property
    def header(self) -> bytes:
        """The first bytes of all ciphertexts of this vault: they name its key."""
        return _VERSION + self._key_id

    @property
    def headers(self) -> list[bytes]:
        """The headers of all ciphertexts that this vault decrypts."""
        return [self.header, *self._old]

    @property
    def name(self) -> str:
        """A name of the key for messages and files, which says nothing of it."""
        return self._key_id.hex()

    def has_key_of(self, other: "Vault") -> bool:
        """Return whether both encrypt with the same key."""
        return self.key_text() == other.key_text()

    def with_old(self, old: Sequence["Vault"]) -> "Vault":
        """Return a vault of the same key that also decrypts what `old` encrypted."""
        return Vault(self._secret, [one for one in old if not self.has_key_of(one)])

    def encrypt(self, address: str, correlation_id: str) -> bytes:
        """Encrypt `address` for the session `correlation_id`."""
        nonce = os.urandom(_NONCE_BYTES)
        encrypted = self._cipher.encrypt(nonce, address.encode(), correlation_id.encode())
        return self.header + nonce + encrypted

    def decrypt(self, encrypted: bytes, correlation_id: str) -> str:
        """Decrypt a ciphertext of the same session. Raises `DecryptionError`."""
        if not encrypted.startswith(self.header):
            old = self._old.get(encrypted[: len(self.header)])
            if old is None and is_encrypted(encrypted):
                raise OtherKeyError("the address was encrypted with another key")
            if old is None:
                raise DecryptionError("the encrypted address is damaged")
            return old.decrypt(encrypted, correlation_id)
        nonce = encrypted[_HEADER_BYTES - _NONCE_BYTES : _HEADER_BYTES]
        try:
            address = self._cipher.decrypt(
                nonce, encrypted[_HEADER_BYTES:], correlation_id.encode()
            )
        except (InvalidTag, ValueError):
            raise DecryptionError("the encrypted address is damaged or belongs elsewhere") from None
        return address.decode()

    def key_text(self) -> bytes:
        """Return the content of the key file."""
        return base64.b64encode(self._secret) + b"\n"

    def digest(self, address: str, correlation_id: str) -> bytes:
        """Return a keyed digest of `address` in this session, useless without the key.

        It begins with the name of the key, so that the last digest of an old key can be told.
        """
        return self._key_id + self._digest(address, correlation_id)[:-_KEY_ID_BYTES]

    def recognises(self, digest: bytes | None, address: str, correlation_id: str) -> bool:
        """Return whether `digest` is that of this address, by this key or an old one.

        A digest of version 0.1.0 has no name in front.
        """
        full = self._digest(address, correlation_id)
        if digest in (full, self._key_id + full[:-_KEY_ID_BYTES]):
            return True
        return any(one.recognises(digest, address, correlation_id) for one in self._old.values())

    def _digest(self, address: str, correlation_id: str) -> bytes:
        message = correlation_id.encode() + b"\0" + address.encode()
        return hmac.digest(self._digest_key, message, "sha256")


def open_vault(key_file: Path) -> Vault:
    """Open the vault with the key in `key_file` (32 bytes in base64); create the key if missing.

    A new key is on the disk, readable by its owner only, before it is used. Raises `UnusableKey`,
    or `OSError` if the file cannot be read or created.
    """
    try:
        text = read_secret_file(key_file, _MAX_KEY_FILE_BYTES)
    except FileNotFoundError:
        return write_new_key(key_file)
    return Vault(_read_key(text, key_file))


def write_new_key(key_file: Path) -> Vault:
    """Write a new key, on the disk on return, in place of the one that is there, if any.

    Raises `OSError`.
    """
    vault = Vault(os.urandom(KEY_BYTES))
    with atomic_file(key_file) as file:
        file.write(vault.key_text())
    return vault


def check_key(key_file: Path) -> None:
    """Raise as `open_vault` would, `UnusableKey` or `OSError`. Changes nothing."""
    with suppress(FileNotFoundError, NotADirectoryError):
        read_vault(key_file)


def is_own_key(key_file: Path, directory: Path) -> bool:
    """Return whether the agent makes the key itself, in its storage directory."""
    return key_file == directory / OWN_KEY_FILE


def set_unusable_key_aside(key_file: Path, now_us: int) -> Path:
    """Rename a file that holds no key, for a person to look at; return its new path.

    Raises `OSError`.
    """
    kept = key_file.rename(key_file.with_name(f"{key_file.name}.unusable-{now_us}"))
    sync_directory(key_file.parent)
    return kept


def restore_key(vault: Vault, key_file: Path) -> bool:
    """Write the key of `vault` if its file is missing; return whether it was. Raises `OSError`."""
    if key_file.exists():
        return False
    with atomic_file(key_file) as file:
        file.write(vault.key_text())
    return True


def read_vault(key_file: Path) -> Vault:
    """Open the vault with an existing key. Raises `UnusableKey` or `OSError`. Changes nothing."""
    text = read_secret_file(key_file, _MAX_KEY_FILE_BYTES, make_private=False)
    return Vault(_read_key(text, key_file))


def _read_key(text: bytes, key_file: Path) -> bytes:
    try:
        secret = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise UnusableKey(
            f"{key_file} does not hold an encryption key: expected {KEY_BYTES} random bytes in "
            f"base64 (44 characters). Restore the key from your backup; `head -c {KEY_BYTES} "
            "/dev/urandom | base64` creates a new one, but addresses encrypted with the old key "
            "are then lost."
        )
    return secret


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"loyalty-agent " + purpose).derive(secret)
