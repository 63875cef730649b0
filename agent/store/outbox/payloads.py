"""Makes a body for sending out of what is kept: opened, the e-mail address put back."""

import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from agent.store.crypto.bodies import as_it_came
from agent.store.crypto.vault import Unreadable, Vault, read_vault
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
_ERASED = b'"emailAddress":null,"erased":true'


class Readdressing:
    """Opens what is sealed for sending; says once that something does not open."""

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

    def body(
        self, kept: bytes, correlation_id: str, status: str | None, vault: Callable[[], Vault]
    ) -> bytes:
        """Return the body without the address.

        One that, for good, does not open is made anew of what is known beside it: the session's
        name, or the `status` of an answer.
        """
        try:
            return as_it_came(kept, correlation_id, vault)
        except Unreadable as error:
            self._complain(error)
            return msgspec.json.encode(
                {"correlationId": correlation_id} if status is None else {"status": status}
            )

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
