"""Finds traces of erased values in the files of a storage directory, byte by byte."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.support.agent.store import query

# Shorter slices occur by chance; the header of a ciphertext is the same in all of them.
_SLICE_BYTES = 16
_HEADER_BYTES = 5
STORED = "SELECT address, address_mark FROM email_answer WHERE address IS NOT NULL"


def stored_secrets(directory: Path) -> tuple[list[bytes], list[bytes]]:
    """Return the stored ciphertexts of all addresses, and their keyed digests."""
    rows = query(directory, STORED)
    addresses = [address for address, _ in rows if isinstance(address, bytes)]
    digests = [digest for _, digest in rows if isinstance(digest, bytes)]
    return addresses, digests


def traces(directory: Path, secrets: Iterable[bytes]) -> list[str]:
    """Return the files that hold any 16 bytes of a secret, once for each secret found."""
    contents = {file: file.read_bytes() for file in directory.rglob("*") if file.is_file()}
    return [
        file.name
        for secret in secrets
        for file, content in contents.items()
        if any(piece in content for piece in _slices(secret))
    ]


def _slices(secret: bytes) -> Iterator[bytes]:
    """Yield consecutive slices: any run of 31 bytes of the secret contains a whole one."""
    body = secret[_HEADER_BYTES:] if len(secret) > 2 * _SLICE_BYTES else secret
    for start in range(0, len(body) - _SLICE_BYTES + 1, _SLICE_BYTES):
        yield body[start : start + _SLICE_BYTES]
