"""Look up the ledger state that concerns a batch, in a constant number of statements."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, Executable, RowMapping, Table

from sync.protocol.rfc3339 import to_rfc3339
from sync.receiver.db import conditions, statements, tables
from sync.receiver.db.lookup_statements import (
    ANSWERED,
    REJECTED,
    SELECT_DUPLICATED_SESSIONS,
    SELECT_GAPS,
    SELECT_LAST_GAPS,
    SELECT_REJECTED_SESSIONS,
    SELECT_UNDER_IDS,
    select_alike_answers,
)
from sync.receiver.ingest.deduplication.alike import MAX_ALIKE
from sync.receiver.ingest.deduplication.digest import digest_of
from sync.receiver.ingest.deduplication.purged import PurgedNumbers, first_of_block
from sync.receiver.ingest.events import AnswerEvent, InvalidEvent, SessionEvent, ValidEvent
from sync.receiver.ingest.gaps import Gap
from sync.receiver.ingest.ledger_state import EventKey, LedgerState
from sync.receiver.ingest.parse import InboundBatch
from sync.receiver.ingest.rows import captured_times, gap_of
from sync.receiver.ingest.times.clock_skew import SkewCorrector

# Below this density, query the numbers individually instead of their range: rejected events are
# retried together and can lie a year apart.
_SPARSE = 1 / 4


def look_up(
    connection: Connection, inbound: InboundBatch, resent: tuple[int, int] | None
) -> LedgerState:
    """Return the state under the batch's correlation ids and under its resent numbers."""
    lookup, events = _Lookup(connection, inbound), inbound.events
    state = lookup.by_correlation_ids([e for e in events if not isinstance(e, InvalidEvent)])
    numbers = [event.sequence for event in events if resent and event.sequence <= resent[1]]
    if not numbers:
        return state
    return replace(
        state,
        stored=lookup.stored(numbers),
        rejected=lookup.event_keys(tables.rejections, numbers),
        duplicates=lookup.event_keys(tables.duplicates, numbers),
        gaps=lookup.gaps(numbers),
    )


def look_up_purged(
    connection: Connection, inbound: InboundBatch, purged_through: int, corrector: SkewCorrector
) -> PurgedNumbers:
    """Return the digests kept of the batch's purged numbers, and which have none and are younger.

    Reads nothing for a batch without purged numbers.
    """
    through, newest_at = purged_through, corrector.newest_trusted_at
    numbers = [event.sequence for event in inbound.events if event.sequence <= through]
    if not numbers:
        return PurgedNumbers()
    firsts = sorted({first_of_block(number) for number in numbers})
    key = conditions.params_for(inbound.sender.name, inbound.batch.epoch)
    rows = connection.execute(statements.SELECT_PURGED_DIGESTS, {**key, "numbers": firsts})
    purged = PurgedNumbers(through, {row.first_sequence: row.digests for row in rows})
    captured_at = captured_times(inbound, numbers, corrector)
    younger = (
        number
        for number in numbers
        if not purged.has_digest(number)
        and ((at := captured_at.get(number)) is None or newest_at is None or at > newest_at)
    )
    return replace(purged, younger=frozenset(younger))


class _Lookup:
    def __init__(self, connection: Connection, inbound: InboundBatch) -> None:
        self._connection = connection
        self._inbound = inbound
        self._key = conditions.params_for(inbound.sender.name, inbound.batch.epoch)

    def by_correlation_ids(self, events: Sequence[ValidEvent]) -> LedgerState:
        ids = {event.correlation_id for event in events}
        rows: defaultdict[str, list[RowMapping]] = defaultdict(list)
        for row in self._rows(SELECT_UNDER_IDS, ids=ids) if ids else ():
            rows[row["kind"]].append(row)
        sessions = [(row["till_id"], _session(row)) for row in rows[tables.sessions.name]]
        rejected, till_id = _ids(rows[REJECTED]), self._inbound.sender.name.till_id
        own = {one.correlation_id: one for of_till, one in sessions if of_till == till_id}
        foreign = _ids(rows[tables.sessions.name]) - own.keys()
        duplicated = self._rows(SELECT_DUPLICATED_SESSIONS, ids=foreign) if foreign else ()
        rejections = self._rows(SELECT_REJECTED_SESSIONS, ids=rejected) if rejected else ()
        answered = _ids(rows[ANSWERED])
        keys = _answer_keys(events, answered) if answered else {}
        return LedgerState(
            sessions=_by_id(session for _, session in sessions),
            stored_here=own,
            duplicated_here=_ids(duplicated),
            answers=self._alike_answers(answered, keys.values()),
            digests={number: key.digest for number, key in keys.items()},
            rejected_here=_ids(row for row in rejections if row["here"]),
            rejected_elsewhere=_ids(row for row in rejections if row["elsewhere"]),
        )

    def _alike_answers(
        self, answered: frozenset[str], keys: Collection["_AnswerKey"]
    ) -> dict[str, list[AnswerEvent]]:
        """Return the answers that `keys` find, by correlation id, with an entry for each id."""
        found: dict[str, list[AnswerEvent]] = {name: [] for name in answered}
        if not keys:
            return found
        encoded = msgspec.json.encode([key._asdict() for key in set(keys)]).decode()
        statement = select_alike_answers(self._connection.dialect.name)
        # Several keys can find the same row.
        rows = {
            (row["till_id"], row["epoch"], row["sequence"]): row
            for row in self._rows(statement, keys=encoded, most=MAX_ALIKE)
        }
        for row in rows.values():
            found[row["correlation_id"]].append(_answer(row))
        return found

    def stored(self, numbers: Sequence[int]) -> dict[int, ValidEvent]:
        events: list[ValidEvent] = [
            *map(_session, self._by_numbers(tables.sessions, numbers)),
            *map(_answer, self._by_numbers(tables.answers, numbers)),
        ]
        return {event.sequence: event for event in events}

    def event_keys(self, table: Table, numbers: Sequence[int]) -> dict[int, EventKey]:
        columns = [name for name in EventKey._fields if name in table.c]
        return {
            row["sequence"]: EventKey(*(row[name] for name in columns))
            for row in self._by_numbers(table, numbers)
        }

    def gaps(self, numbers: Sequence[int]) -> list[Gap]:
        return [gap_of(row) for row in self._gap_rows(numbers)]

    def _gap_rows(self, numbers: Sequence[int]) -> Sequence[RowMapping]:
        if not _are_sparse(numbers):
            select_overlapping = statements.SELECT_OVERLAPPING_GAPS
            return self._rows(select_overlapping, first=numbers[0], last=numbers[-1])
        last_gaps = self._rows(SELECT_LAST_GAPS, ids=numbers)
        firsts = [row["first_sequence"] for row in last_gaps if row["first_sequence"] is not None]
        return self._rows(SELECT_GAPS, numbers=firsts) if firsts else ()

    def _by_numbers(self, table: Table, numbers: Sequence[int]) -> Sequence[RowMapping]:
        if _are_sparse(numbers):
            return self._rows(statements.select_numbers(table), numbers=numbers)
        return self._rows(statements.select_range(table), first=numbers[0], last=numbers[-1])

    def _rows(self, statement: Executable, **values: object) -> Sequence[RowMapping]:
        return self._connection.execute(statement, {**self._key, **values}).mappings().all()


class _AnswerKey(NamedTuple):
    id: str
    digest: str
    address: str | None
    at: str
    erased: bool


def _answer_keys(events: Iterable[ValidEvent], answered: frozenset[str]) -> dict[int, _AnswerKey]:
    """Return the keys of the answers to these sessions, by number."""
    return {
        event.sequence: _AnswerKey(
            event.correlation_id,
            digest_of(event),
            event.email_address,
            to_rfc3339(event.occurred_at),
            event.address_erased,
        )
        for event in events
        if isinstance(event, AnswerEvent) and event.correlation_id in answered
    }


def _are_sparse(numbers: Sequence[int]) -> bool:
    return len(numbers) < _SPARSE * (numbers[-1] - numbers[0] + 1)


def _ids(rows: Iterable[RowMapping]) -> frozenset[str]:
    return frozenset(row["correlation_id"] for row in rows)


def _by_id(sessions: Iterable[SessionEvent]) -> dict[str, list[SessionEvent]]:
    found: dict[str, list[SessionEvent]] = {}
    for session in sessions:
        found.setdefault(session.correlation_id, []).append(session)
    return found


def _session(row: RowMapping) -> SessionEvent:
    compared = ("sequence", "correlation_id", "occurred_at", "query_locale", "body")
    return SessionEvent(**{name: row[name] for name in compared})


def _answer(row: RowMapping) -> AnswerEvent:
    return AnswerEvent(**{name: row[name] for name in AnswerEvent.__struct_fields__})
