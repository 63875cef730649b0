"""Stores a till's body byte for byte; encrypts it as a whole if it may hold an e-mail address.

The address of an e-mail answer has its own column. But a till can repeat it in a member unknown to
the API, or use it as the session's id, and such a member belongs to the body too. Every address has
an at sign, which JSON can spell in only two ways: a body without one is stored as plain text, and
hardly any has one.
"""

from collections.abc import Callable

from agent.store.crypto.vault import Vault, is_encrypted

# As written in JSON, plain or escaped, and in a URL.
_AT_SIGNS = (b"@", b"\\u0040", b"%40")


def may_hold_address(text: bytes) -> bool:
    """Return whether `text`, JSON or plain, may hold an e-mail address."""
    return any(sign in text for sign in _AT_SIGNS)


def encrypt_body(body: bytes, correlation_id: str, vault: Vault) -> bytes:
    """Return the stored form of `body`, JSON."""
    if not may_hold_address(body):
        return body
    return vault.encrypt(body.decode(), _associated_data(correlation_id))


def decrypt_body(stored: bytes, correlation_id: str, vault: Callable[[], Vault]) -> bytes:
    """Return the original body from its stored form. Raises `DecryptionError`.

    `vault` is called only if the stored form is encrypted.
    """
    if not is_encrypted(stored):
        return stored
    return vault().decrypt(stored, _associated_data(correlation_id)).encode()


def _associated_data(correlation_id: str) -> str:
    """Return the associated data of a body, distinct from the address's: no id has a line feed."""
    return f"{correlation_id}\nbody"
