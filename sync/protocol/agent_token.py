"""Agent tokens: their format, and the hash that head office stores. No I/O."""

import base64
import hashlib

SECRET_BYTES = 32


def make_token(store_id: str, till_id: str, secret: bytes) -> str:
    """Return an agent's token: its name, for the lookup by store, and a secret.

    Printable ASCII without spaces: two parts of URL-safe base64, joined by a dot.
    """
    return f"{_encode(f'{store_id}/{till_id}'.encode())}.{_encode(secret)}"


def hash_token(token: str) -> str:
    """Return the stored hash. A plain SHA-256 is safe, because the secret is long and random."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
