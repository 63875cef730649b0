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
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sync.runtime.files.atomic_file import atomic_file
from sync.runtime.files.private_files import read_secret_file

KEY_BYTES = 32
_MAX_KEY_FILE_BYTES = 4_096
_VERSION = b"\x01"
_KEY_ID_BYTES = 4
_NONCE_BYTES = 12
_HEADER_BYTES = len(_VERSION) + _KEY_ID_BYTES + _NONCE_BYTES


class UnusableKey(Exception):  # noqa: N818 - names the thing that is wrong
    """The encryption key file does not hold a key."""


class DecryptionError(Exception):
    """A ciphertext does not decrypt: made with another key, moved, or damaged."""


def is_encrypted(stored: bytes) -> bool:
    """Return whether `stored` is a ciphertext. JSON never begins with the version byte."""
    return stored.startswith(_VERSION)


class Vault:
    """Encrypts and decrypts with keys derived from one secret of 32 bytes."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._cipher = AESGCM(_derive(secret, b"seal"))
        self._digest_key = _derive(secret, b"mark")
        self._key_id = hashlib.sha256(_derive(secret, b"name")).digest()[:_KEY_ID_BYTES]

    @property
    def header(self) -> bytes:
        """The first bytes of all ciphertexts of this vault: they name its key."""
        return _VERSION + self._key_id

    def encrypt(self, address: str, correlation_id: str) -> bytes:
        """Encrypt `address` for the session `correlation_id`."""
        nonce = os.urandom(_NONCE_BYTES)
        encrypted = self._cipher.encrypt(nonce, address.encode(), correlation_id.encode())
        return self.header + nonce + encrypted

    def decrypt(self, encrypted: bytes, correlation_id: str) -> str:
        """Decrypt a ciphertext of the same session. Raises `DecryptionError`."""
        if not encrypted.startswith(self.header):
            raise DecryptionError("the address was encrypted with another key")
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
        return _key_text(self._secret)

    def digest(self, address: str, correlation_id: str) -> bytes:
        """Return a keyed digest of `address` in this session, useless without the key."""
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
        text = _key_text(os.urandom(KEY_BYTES))
        with atomic_file(key_file) as file:
            file.write(text)
    return Vault(_read_key(text, key_file))


def check_key(key_file: Path) -> None:
    """Raise as `open_vault` would, `UnusableKey` or `OSError`. Changes nothing."""
    try:
        text = read_secret_file(key_file, _MAX_KEY_FILE_BYTES, make_private=False)
    except (FileNotFoundError, NotADirectoryError):
        return
    _read_key(text, key_file)


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


def _key_text(secret: bytes) -> bytes:
    return base64.b64encode(secret) + b"\n"


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"loyalty-agent " + purpose).derive(secret)
