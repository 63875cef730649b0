"""Builds the body to send from the stored one: decrypts it and puts the e-mail address back."""

import logging
from collections.abc import Callable

import msgspec

from agent.facts import EmailStatus
from agent.store.crypto.bodies import decrypt_body
from agent.store.crypto.vault import DecryptionError, OtherKeyError, Vault
from agent.store.files.storage_errors import CorruptRow
from sync.protocol.json_object import NotAnObject, with_address
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)


class PayloadBuilder:
    """Decrypts stored bodies and addresses for sending; logs the first failure only."""

    def __init__(self) -> None:
        self._has_logged = False

    def build(
        self,
        stored: bytes,
        correlation_id: str,
        status: EmailStatus | None,
        encrypted: bytes | None,
        vault: Callable[[], Vault],
    ) -> tuple[bytes, bool]:
        """Return the body with its address, and whether that is erased or cannot be decrypted.

        A body that cannot be decrypted is rebuilt from its columns: the session's correlation id,
        or the `status` of an answer. Raises `CorruptRow`, and `OtherKeyError` if the key is not
        there: it may come back, and the event must not be sent without its address before.
        """
        address = None
        try:
            body = decrypt_body(stored, correlation_id, vault)
        except OtherKeyError as error:
            self._log_once(error)
            raise
        except DecryptionError as error:
            self._log_once(error)
            columns = {"correlationId": correlation_id} if status is None else {"status": status}
            body = msgspec.json.encode(columns)
        if status is not EmailStatus.ACCEPTED:
            return body, False
        try:
            if encrypted is not None:
                address = vault().decrypt(encrypted, correlation_id)
        except OtherKeyError as error:
            self._log_once(error)
            raise
        except DecryptionError as error:
            self._log_once(error)
        try:
            return with_address(body, address), address is None
        except NotAnObject:
            raise CorruptRow("the body of an event is no JSON object") from None

    def _log_once(self, error: DecryptionError) -> None:
        if not self._has_logged:
            self._has_logged = True
            log_event(_log, logging.ERROR, "outbox.decryption_failed", error=error)
