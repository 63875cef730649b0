"""Look up the ledger state that concerns a batch, in a constant number of statements."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sqlalchemy import Connection, Executable, RowMapping, Table

from sync.receiver.db import statements, tables
from sync.receiver.ingest.accept import EventKey, LedgerState, ValidEvent
from sync.receiver.ingest.events import AnswerEvent, InvalidEvent, SessionEvent
from sync.receiver.ingest.gaps import Acknowledgement, Gap
from sync.receiver.ingest.parse import InboundBatch

# Below this density, query the numbers individually instead of their range: rejected events are
# retried together and can lie a year apart.
_SPARSE = 1 / 4


def look_up(
    connection: Connection, inbound: InboundBatch, resent: tuple[int, int] | None
) -> LedgerState:
    """Return the state under the batch's correlation ids and under its resent numbers."""
    lookup = _Lookup(connection, inbound)
    state = lookup.by_correlation_ids()
    if resent is None:
        return state
    numbers = [event.sequence for event in inbound.events if event.sequence <= resent[1]]
    return replace(
        state,
        stored=lookup.stored(numbers),
        rejected=lookup.event_keys(tables.rejections, numbers),
        duplicates=lookup.event_keys(tables.duplicates, numbers),
        gaps=lookup.gaps(numbers),
    )


class _Lookup:
    def __init__(self, connection: Connection, inbound: InboundBatch) -> None:
        self._connection = connection
        self._inbound = inbound
        self._key = statements.params_for(inbound.sender.name, inbound.batch.epoch)

    def by_correlation_ids(self) -> LedgerState:
        events = self._inbound.events
        ids = {event.correlation_id for event in events if not isinstance(event, InvalidEvent)}
        rows: defaultdict[str, list[RowMapping]] = defaultdict(list)
        for row in self._rows(statements.SELECT_BY_CORRELATION_IDS, ids=ids) if ids else ():
            rows[row["table"]].append(row)
        sessions, rejected = rows[tables.sessions.name], rows[tables.rejections.name]
        answers: defaultdict[str, list[AnswerEvent]] = defaultdict(list)
        for row in rows[tables.answers.name]:
            answers[row["correlation_id"]].append(_answer(row))
        till_id, epoch = self._inbound.sender.name.till_id, self._inbound.batch.epoch
        return LedgerState(
            sessions={row["correlation_id"]: _session(row) for row in sessions},
            own_sessions=_ids(row for row in sessions if row["till_id"] == till_id),
            answers=answers,
            rejected_here=_ids(row for row in rejected if row["epoch"] == epoch),
            rejected_elsewhere=_ids(row for row in rejected if row["epoch"] != epoch),
        )

    def stored(self, numbers: Sequence[int]) -> dict[int, ValidEvent]:
        events: list[ValidEvent] = [
            *map(_session, self._by_numbers(tables.sessions, numbers)),
            *map(_answer, self._by_numbers(tables.answers, numbers)),
        ]
        return {event.sequence: event for event in events}

    def event_keys(self, table: Table, numbers: Sequence[int]) -> dict[int, EventKey]:
        rows = self._by_numbers(table, numbers)
        return {row["sequence"]: EventKey(row["type"], row["correlation_id"]) for row in rows}

    def gaps(self, numbers: Sequence[int]) -> list[Gap]:
        rows = self._rows(statements.SELECT_OVERLAPPING_GAPS, first=numbers[0], last=numbers[-1])
        return [_gap(row) for row in rows]

    def _by_numbers(self, table: Table, numbers: Sequence[int]) -> Sequence[RowMapping]:
        first, last = numbers[0], numbers[-1]
        if len(numbers) < _SPARSE * (last - first + 1):
            return self._rows(statements.select_numbers(table), numbers=numbers)
        return self._rows(statements.select_range(table), first=first, last=last)

    def _rows(self, statement: Executable, **values: object) -> Sequence[RowMapping]:
        return self._connection.execute(statement, {**self._key, **values}).mappings().all()


def _ids(rows: Iterable[RowMapping]) -> frozenset[str]:
    return frozenset(row["correlation_id"] for row in rows)


def _session(row: RowMapping) -> SessionEvent:
    compared = ("sequence", "correlation_id", "occurred_at", "query_locale", "body")
    return SessionEvent(**{name: row[name] for name in compared})


def _answer(row: RowMapping) -> AnswerEvent:
    return AnswerEvent(**{name: row[name] for name in AnswerEvent.__struct_fields__})


def _gap(row: RowMapping) -> Gap:
    at, by, reason = (row[f"acknowledged_{name}"] for name in ("at", "by", "reason"))
    acknowledgement = None if at is None else Acknowledgement(at, by or "", reason or "")
    return Gap(row["first_sequence"], row["last_sequence"], row["reason"], acknowledgement)
