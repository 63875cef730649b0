"""Seals a stream for one public key, in chunks that cannot be cut, swapped or changed.

The STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár (as in age): the nonce of a chunk
is its number and whether it is the last one. The content key is random for each file, so a nonce is
never used twice. *Obvious:* one HPKE message. *Why not:* it would be held in memory as a whole, on
both sides.
"""

import hashlib
import io
import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
)

CONTENT_KEY_BYTES = 32
CHUNK_BYTES = 64 * 1024
_TAG_BYTES = 16
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_NAME, _VERSION = b"loyalty-bundle\n", b"\x01"
_KEY_ID_BYTES = 8
_LENGTH = struct.Struct(">I")
# It names up to a thousand epochs.
_MAX_HEAD_BYTES = 1024 * 1024


class BundleError(Exception):
    """The file cannot be taken; the message says why and what to do."""


class OtherRecipientError(BundleError):
    """The bundle is sealed for another public key."""


class OpenedHead(NamedTuple):
    """The head of a bundle, and the id of the key that it is sealed for."""

    content: bytes
    key_id: str


def key_id_of(key: X25519PublicKey) -> str:
    """Return the id by which people and bundles name a public key: 16 hexadecimal digits."""
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[: 2 * _KEY_ID_BYTES]


class SealedWriter:
    """Writes a sealed stream to `file`. `close` marks its end; without it nothing can be read."""

    def __init__(
        self, file: BinaryIO, key: X25519PublicKey, head: bytes, content_key: bytes
    ) -> None:
        """Write the head, which holds the content key for the reader."""
        prefix = _NAME + _VERSION + bytes.fromhex(key_id_of(key))
        sealed = _SUITE.encrypt(head, key, info=prefix)
        file.write(prefix + _LENGTH.pack(len(sealed)) + sealed)
        self._file = file
        self._cipher = AESGCM(content_key)
        self._pending = bytearray()
        self._number = 0

    def write(self, data: bytes) -> int:
        """Seal whole chunks of what was written, except for the last byte's."""
        self._pending += data
        while len(self._pending) > CHUNK_BYTES:
            self._seal(bytes(self._pending[:CHUNK_BYTES]), is_last=False)
            del self._pending[:CHUNK_BYTES]
        return len(data)

    def close(self) -> None:
        """Seal the rest as the last chunk. The file stays open."""
        self._seal(bytes(self._pending), is_last=True)

    def _seal(self, chunk: bytes, *, is_last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._number, is_last=is_last), chunk, None))
        self._number += 1


def open_head(file: BinaryIO, keys: Mapping[str, X25519PrivateKey]) -> OpenedHead:
    """Return the opened head at the start of `file`; `keys` by their ids.

    Raises `BundleError`.
    """
    prefix = file.read(len(_NAME) + len(_VERSION) + _KEY_ID_BYTES)
    if not prefix.startswith(_NAME):
        raise BundleError("it is not a file of `loyalty-agent export`")
    if not prefix.startswith(_NAME + _VERSION):
        raise BundleError("it was written by a newer version of the agent: upgrade head office")
    key_id = prefix[len(_NAME) + len(_VERSION) :].hex()
    key = keys.get(key_id)
    if key is None:
        raise OtherRecipientError(
            f"it is sealed for the key {key_id}, which head office does not have"
        )
    length = file.read(_LENGTH.size)
    size = _LENGTH.unpack(length)[0] if len(length) == _LENGTH.size else 0
    sealed = file.read(size) if size <= _MAX_HEAD_BYTES else b""
    try:
        return OpenedHead(_SUITE.decrypt(sealed, key, info=prefix), key_id)
    except (InvalidTag, ValueError):
        raise _damaged() from None


class SealedReader(io.RawIOBase):
    """Reads the chunks of a sealed stream, each authenticated before a byte of it is returned."""

    def __init__(self, file: BinaryIO, content_key: bytes) -> None:
        """Read from `file`, which is behind the head."""
        super().__init__()
        self._chunks = _open_chunks(file, AESGCM(content_key))
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override] # bytes
        """Fill some of `buffer`; return 0 after the last chunk. Raises `BundleError`."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _open_chunks(file: BinaryIO, cipher: AESGCM) -> Iterator[bytes]:
    number, block = 0, file.read(CHUNK_BYTES + _TAG_BYTES)
    while True:
        following = file.read(CHUNK_BYTES + _TAG_BYTES)
        try:
            yield cipher.decrypt(_nonce(number, is_last=not following), block, None)
        except InvalidTag:
            raise _damaged() from None
        if not following:
            return
        number, block = number + 1, following


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11) + bytes([is_last])


def _damaged() -> BundleError:
    return BundleError("it is damaged, cut short, or was changed: copy or export it again")
