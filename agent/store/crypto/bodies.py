"""Keeps a till's body as it came; one that may hold an e-mail address is sealed as a whole.

The address of an e-mail answer has a column of its own. But a till can repeat it in a member
that the API does not know, or use it as some other name of the session, and such a member
belongs to the body too. Every address has an at sign, and JSON spells that in two ways only:
a body without one stays readable, and hardly any has one.
"""

from collections.abc import Callable

from agent.store.crypto.vault import Vault, is_sealed

# As JSON writes it, plain or escaped, and as it stands in a URL.
_AT_SIGNS = (b"@", b"\\u0040", b"%40")


def may_hold_address(text: bytes) -> bool:
    """Tell whether an e-mail address can stand in `text`, JSON or plain."""
    return any(sign in text for sign in _AT_SIGNS)


def to_keep(body: bytes, correlation_id: str, vault: Vault) -> bytes:
    """Return what is kept of `body`, JSON, on the disk."""
    if not may_hold_address(body):
        return body
    return vault.seal(body.decode(), _place(correlation_id))


def as_it_came(kept: bytes, correlation_id: str, vault: Callable[[], Vault]) -> bytes:
    """Return the body of which `kept` is what `to_keep` made. Raises `Unreadable`.

    The `vault` is asked for only where it is needed.
    """
    if not is_sealed(kept):
        return kept
    return vault().open(kept, _place(correlation_id)).encode()


def _place(correlation_id: str) -> str:
    """Name what is sealed apart from the session's address: no id has a line end in it."""
    return f"{correlation_id}\nbody"
