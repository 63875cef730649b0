"""Feeds salvaged captures into the live database, idempotent: the same capture is fed in once.

They become new events at the end of the current epoch, with their own times. The receipt that the
till has stays valid: it is kept as an alias. A capture is recognised by its content, not by its
place, so that files may overlap and be read again.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from agent.facts import Receipt
from agent.store.crypto.bodies import decrypt_body
from agent.store.crypto.vault import DecryptionError, Vault
from agent.store.db.epochs import Epochs, read_epochs
from agent.store.db.event_rows import event_checksum
from agent.store.db.receipt_aliases import ReceiptAliases
from agent.store.db.returned_numbers import add_returned
from agent.store.db.rows import checked, checked_rows
from agent.store.journal.boots import open_boot
from agent.store.outbox.in_flight import add_doubt
from agent.store.recovery.salvaged import SalvagedCapture
from agent.store.store import Store
from sync.protocol.json_equality import json_equal
from sync.protocol.wire import EventType

CAPTURES_PER_STEP = 32
_SESSION = """
SELECT session.position, query_locale, body FROM session JOIN event USING (position)
WHERE correlation_id = ?
"""
_ANSWERS = """
SELECT email_answer.position, status, address_mark, occurred_at_us, monotonic_us, body
FROM email_answer JOIN event USING (position) WHERE email_answer.session_position = ?
ORDER BY email_answer.position
"""
_ADD_EVENT = """
INSERT INTO event (position, type, session_position, occurred_at_us, monotonic_us, boot_number,
    body, checksum)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_ADD_SESSION = """
INSERT INTO session (position, correlation_id, query_locale, closed) VALUES (?, ?, ?, ?)
"""
_ADD_ANSWER = """
INSERT INTO email_answer (position, session_position, status, address, address_mark)
VALUES (?, ?, ?, ?, ?)
"""
_RECORD = """
INSERT INTO salvage (source, fed_through, last_position, salvaged, unreadable, is_read)
VALUES (:source, :fed_through, :last_position, :salvaged, :unreadable, 0)
ON CONFLICT DO UPDATE SET fed_through = excluded.fed_through,
    last_position = max(last_position, excluded.last_position),
    salvaged = salvaged + excluded.salvaged, unreadable = unreadable + excluded.unreadable
"""


class _Session(NamedTuple):
    position: int
    query_locale: str | None
    body: bytes


class _Answer(NamedTuple):
    position: int
    status: str
    address_mark: bytes | None
    occurred_at_us: int
    monotonic_us: int
    body: bytes


@dataclass(slots=True)
class Fed:
    """Result of a step: captures fed in, known already, damaged, and in conflict with others.

    A capture is in conflict if a till has since used its correlation id for another session: that
    one stays, because its till has its receipt. `returned`: the numbers of these captures that they
    have no more, by epoch.
    """

    epochs: Epochs
    salvaged: int = 0
    known: int = 0
    damaged: int = 0
    conflicts: int = 0
    last_position: int = 0
    added: list[int] = field(default_factory=list)
    returned: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))


def feed(
    store: Store, source: str, captures: Sequence[SalvagedCapture], epochs: Epochs | None
) -> Fed:
    """Feed in `captures`, the next ones of `source`, in one transaction. Writer's thread only.

    `epochs` are those of the source. Raises a `StorageError`, also while there is no room.
    """
    store.require_room()
    fed = store.run(_feed, source, captures, epochs, store.vault)
    store.adopt_epochs(fed.epochs)
    store.clear_cache()
    return fed


def _feed(
    connection: sqlite3.Connection,
    source: str,
    captures: Sequence[SalvagedCapture],
    epochs: Epochs | None,
    vault: Vault,
) -> Fed:
    step = _Step(connection, source, read_epochs(connection), vault)
    for capture in captures:
        step.add(capture, capture.receipt(epochs), capture.number(epochs))
    fed = step.fed
    # An acknowledgement may have been lost with the file.
    add_doubt(connection, fed.added)
    add_returned(connection, fed.returned)
    values = {
        "source": source,
        "fed_through": captures[-1].position,
        "last_position": fed.last_position,
        "salvaged": fed.salvaged,
        "unreadable": fed.damaged + fed.conflicts,
    }
    connection.execute(_RECORD, values)
    return fed


class _Step:
    def __init__(
        self, connection: sqlite3.Connection, source: str, live: Epochs, vault: Vault
    ) -> None:
        self.fed = Fed(live)
        self._connection = connection
        self._source = source
        self._live = live
        self._aliases = ReceiptAliases(connection)
        self._vault = vault

    def add(
        self, capture: SalvagedCapture, receipt: Receipt | None, number: Receipt | None
    ) -> None:
        """Add a capture, unless it is there; record the receipt that a till has for it.

        `number`: of the capture in its own file, if that is another one.
        """
        if capture.is_altered:
            self.fed.damaged += 1
            return
        session = self._session(capture.correlation_id)
        if capture.type is EventType.SESSION_STARTED:
            position = self._session_position(capture, session)
        else:
            position = self._answer_position(capture, receipt, session)
        if position is None:
            return
        self.fed.last_position = max(self.fed.last_position, position)
        live = self._live.receipt(position)
        if receipt is not None and receipt != live:
            self._aliases.add(position, receipt)
        for one in {receipt, number} - {live}:
            if one is not None:
                self.fed.returned[one.epoch].append(one.sequence)

    def _session_position(self, capture: SalvagedCapture, known: _Session | None) -> int | None:
        if known is None:
            return self._insert(capture, None)
        is_same = known.query_locale == capture.query_locale and json_equal(
            self._original(known.body, capture), self._original(capture.body, capture)
        )
        self.fed.known += is_same
        self.fed.conflicts += not is_same
        return known.position if is_same else None

    def _answer_position(
        self, capture: SalvagedCapture, receipt: Receipt | None, session: _Session | None
    ) -> int | None:
        if session is None or capture.status is None:
            self.fed.damaged += 1
            return None
        rows = self._connection.execute(_ANSWERS, (session.position,))
        for known in checked_rows(rows, _Answer):
            if self._is_same(capture, receipt, known):
                self.fed.known += 1
                return known.position
        return self._insert(capture, session.position)

    def _is_same(self, capture: SalvagedCapture, receipt: Receipt | None, known: _Answer) -> bool:
        """Return whether `known` is this answer, or its repeat: a till that had no reply."""
        first = self._aliases.find(known.position)
        if first is not None and receipt is not None:
            return first == receipt
        if capture.status != known.status:
            return False
        times = (known.occurred_at_us, known.monotonic_us)
        is_same_time = times == (capture.occurred_at_us, capture.monotonic_us)
        is_same_address = self._is_same_address(capture, known)
        if not is_same_address and not is_same_time:
            return False
        return json_equal(
            self._original(known.body, capture), self._original(capture.body, capture)
        ) and (is_same_time or known.occurred_at_us > capture.occurred_at_us)

    def _is_same_address(self, capture: SalvagedCapture, known: _Answer) -> bool:
        if capture.address_mark == known.address_mark:
            return True
        if capture.address is None:
            return False
        # The digests may be of two keys.
        try:
            address = self._vault.decrypt(capture.address, capture.correlation_id)
        except DecryptionError:
            return False
        return self._vault.recognises(known.address_mark, address, capture.correlation_id)

    def _insert(self, capture: SalvagedCapture, session_position: int | None) -> int:
        position = self._live.last_position = self._live.last_position + 1
        session = position if session_position is None else session_position
        kind, body = capture.type, capture.body
        times = capture.occurred_at_us, capture.monotonic_us
        numbers = (position, session, *times, self._boot(capture))
        detail = capture.query_locale if session_position is None else capture.status
        checksum = event_checksum(numbers, kind, capture.correlation_id, detail, body)
        self._connection.execute(_ADD_EVENT, (position, kind, *numbers[1:], body, checksum))
        if session_position is None:
            columns = capture.correlation_id, capture.query_locale, capture.closed
            self._connection.execute(_ADD_SESSION, (position, *columns))
        else:
            answer = capture.status, capture.address, capture.address_mark
            self._connection.execute(_ADD_ANSWER, (position, session, *answer))
        self.fed.salvaged += 1
        self.fed.added.append(position)
        return position

    def _session(self, correlation_id: str) -> _Session | None:
        row = self._connection.execute(_SESSION, (correlation_id,)).fetchone()
        return None if row is None else checked(row, _Session)

    def _boot(self, capture: SalvagedCapture) -> int:
        """Return the number of the capture's boot; head office knows no clock of an unknown one."""
        boot_id = capture.boot_id or f"unknown-{self._source}-{capture.boot_number}"
        return open_boot(self._connection, boot_id, 0)

    def _original(self, stored: bytes, capture: SalvagedCapture) -> bytes:
        try:
            return decrypt_body(stored, capture.correlation_id, lambda: self._vault)
        except DecryptionError:
            return stored
