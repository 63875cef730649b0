"""Puts the e-mail address back into the body that is kept without it."""

import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from agent.store.vault import Unreadable, Vault, read_vault
from sync.logs import log_event

_log = logging.getLogger(__name__)
_ERASED = b'"emailAddress":null,"erased":true'


class Readdressing:
    """Opens sealed addresses for sending; says once that one does not open."""

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file
        self._has_complained = False

    def vault(self) -> Vault:
        """Open the vault as it is now. Raises `UnusableKey` or `OSError`: nothing can be sent."""
        return read_vault(self._key_file)

    def address(
        self, sealed: bytes | None, correlation_id: str, vault: Callable[[], Vault]
    ) -> str | None:
        """Return the address; None where it is erased or, for good, does not open."""
        if sealed is None:
            return None
        try:
            return vault().open(sealed, correlation_id)
        except Unreadable as error:
            self._complain(error)
            return None

    def _complain(self, error: Unreadable) -> None:
        if not self._has_complained:
            self._has_complained = True
            log_event(_log, logging.ERROR, "outbox.address_unreadable", error=error)


def with_address(body: bytes, address: str | None) -> bytes:
    """Return the JSON object `body` with the address as its first member, the rest as it is.

    Without an address it says that it was erased.
    """
    member = _ERASED
    if address is not None:
        member = b'"emailAddress":' + msgspec.json.encode(address)
    rest = body[body.index(b"{") + 1 :]
    separator = b"" if rest.lstrip().startswith(b"}") else b","
    return b"{" + member + separator + rest
