"""Reads what the ledger has that concerns a batch: a few statements, whatever its size."""

from collections.abc import Collection, Iterable, Sequence

from sqlalchemy import Connection, Executable, RowMapping, Table

from sync.receiver import statements
from sync.receiver.accept import Fact, Known, Label
from sync.receiver.arrivals import BatchArrival
from sync.receiver.events import AnswerFact, Event, SessionFact
from sync.receiver.gaps import Gap

# Numbers that make up less than this part of their range are asked for one by one: refused events
# are tried again together, and there can be a year between them.
_SCATTERED = 1 / 4


def look_up(
    connection: Connection, arrival: BatchArrival, repeats: tuple[int, int] | None
) -> Known:
    """Return what stands under the batch's correlation ids, and under its numbers `repeats`."""
    looking = _LookingUp(connection, arrival)
    ids = looking.ids(arrival.events)
    if repeats is None:
        return ids
    numbers = [e.sequence for e in arrival.events if e.sequence <= repeats[1]]
    return looking.numbers(ids, numbers)


class _LookingUp:
    def __init__(self, connection: Connection, arrival: BatchArrival) -> None:
        self._connection = connection
        self._name = arrival.caller.name
        self._epoch = arrival.batch.epoch
        self._of = statements.of(self._name, self._epoch)

    def ids(self, events: Iterable[Event]) -> Known:
        answered = {e.correlation_id for e in events if isinstance(e, AnswerFact)}
        started = {e.correlation_id for e in events if isinstance(e, SessionFact)}
        rows = self._under_ids(statements.sessions, answered | started)
        refused = self._refused(answered)
        return Known(
            sessions={str(row["correlation_id"]): session_of(row) for row in rows},
            own_sessions=frozenset(
                str(row["correlation_id"]) for row in rows if row["till_id"] == self._name.till_id
            ),
            answers=self._answers(answered),
            refused_here=frozenset(name for epoch, name in refused if epoch == self._epoch),
            refused_before=frozenset(name for epoch, name in refused if epoch != self._epoch),
        )

    def numbers(self, known: Known, numbers: Sequence[int]) -> Known:
        standing: dict[int, Fact] = {}
        for row in self._under_numbers(statements.sessions, numbers):
            session = session_of(row)
            standing[session.sequence] = session
        for row in self._under_numbers(statements.answers, numbers):
            answer = answer_of(row)
            standing[answer.sequence] = answer
        return Known(
            standing=standing,
            rejected=self._labels(statements.rejections, numbers),
            doubles=self._labels(statements.doubles, numbers),
            gaps=self._gaps(numbers),
            sessions=known.sessions,
            own_sessions=known.own_sessions,
            answers=known.answers,
            refused_here=known.refused_here,
            refused_before=known.refused_before,
        )

    def _answers(self, ids: Collection[str]) -> dict[str, list[AnswerFact]]:
        found: dict[str, list[AnswerFact]] = {}
        for row in self._under_ids(statements.answers, ids):
            found.setdefault(str(row["correlation_id"]), []).append(answer_of(row))
        return found

    def _refused(self, ids: Collection[str]) -> list[tuple[str, str]]:
        if not ids:
            return []
        found = self._rows(statements.REFUSED_SESSIONS, ids=ids)
        return [(row["epoch"], row["correlation_id"]) for row in found]

    def _under_ids(self, table: Table, ids: Collection[str]) -> Sequence[RowMapping]:
        return self._rows(statements.under_ids(table), ids=ids) if ids else ()

    def _under_numbers(self, table: Table, numbers: Sequence[int]) -> Sequence[RowMapping]:
        first, last = numbers[0], numbers[-1]
        if len(numbers) < _SCATTERED * (last - first + 1):
            return self._rows(statements.under_these(table), numbers=numbers)
        return self._rows(statements.under_numbers(table), first=first, last=last)

    def _labels(self, table: Table, numbers: Sequence[int]) -> dict[int, Label]:
        rows = self._under_numbers(table, numbers)
        return {row["sequence"]: Label(row["type"], row["correlation_id"]) for row in rows}

    def _gaps(self, numbers: Sequence[int]) -> list[Gap]:
        found = self._rows(statements.GAPS_AROUND, first=numbers[0], last=numbers[-1])
        return [Gap(row["first_sequence"], row["last_sequence"], row["reason"]) for row in found]

    def _rows(self, statement: Executable, **values: object) -> Sequence[RowMapping]:
        return self._connection.execute(statement, {**self._of, **values}).mappings().all()


def session_of(row: RowMapping) -> SessionFact:
    """Return the event that stands in a row of `sessions`."""
    return SessionFact(
        sequence=row["sequence"],
        correlation_id=row["correlation_id"],
        occurred_at=row["occurred_at"],
        query_locale=row["query_locale"],
        body=row["body"],
    )


def answer_of(row: RowMapping) -> AnswerFact:
    """Return the event that stands in a row of `email_answers`."""
    return AnswerFact(
        sequence=row["sequence"],
        correlation_id=row["correlation_id"],
        occurred_at=row["occurred_at"],
        status=row["status"],
        address=row["email_address"],
        erased=row["address_erased"],
        body=row["body"],
    )
