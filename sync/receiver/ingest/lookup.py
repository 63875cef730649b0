"""Look up the ledger state that concerns a batch, in a constant number of statements."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, Executable, RowMapping, Table

from sync.receiver.db import statements
from sync.receiver.ingest.accept import Fact, Known, Label
from sync.receiver.ingest.events import AnswerFact, Event, InvalidEvent, SessionFact
from sync.receiver.ingest.gaps import Gap
from sync.receiver.ingest.inbound import BatchArrival

# Below this density, query the numbers individually instead of their range: rejected events are
# retried together and can lie a year apart.
_SCATTERED = 1 / 4


def look_up(
    connection: Connection, arrival: BatchArrival, repeats: tuple[int, int] | None
) -> Known:
    """Return the state under the batch's correlation ids and under its resent numbers."""
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
        self._of = statements.params_for(self._name, self._epoch)

    def ids(self, events: Iterable[Event]) -> Known:
        ids = {event.correlation_id for event in events if not isinstance(event, InvalidEvent)}
        found = _by_table(self._rows(statements.SELECT_BY_CORRELATION_IDS, ids=ids) if ids else ())
        sessions, refused = found[statements.sessions.name], found[statements.rejections.name]
        answers: dict[str, list[AnswerFact]] = {}
        for row in found[statements.answers.name]:
            answers.setdefault(row["correlation_id"], []).append(answer_of(row))
        return Known(
            sessions={row["correlation_id"]: session_of(row) for row in sessions},
            own_sessions=frozenset(
                row["correlation_id"] for row in sessions if row["till_id"] == self._name.till_id
            ),
            answers=answers,
            refused_here=frozenset(
                row["correlation_id"] for row in refused if row["epoch"] == self._epoch
            ),
            refused_before=frozenset(
                row["correlation_id"] for row in refused if row["epoch"] != self._epoch
            ),
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
            duplicates=self._labels(statements.duplicates, numbers),
            gaps=self._gaps(numbers),
            sessions=known.sessions,
            own_sessions=known.own_sessions,
            answers=known.answers,
            refused_here=known.refused_here,
            refused_before=known.refused_before,
        )

    def _under_numbers(self, table: Table, numbers: Sequence[int]) -> Sequence[RowMapping]:
        first, last = numbers[0], numbers[-1]
        if len(numbers) < _SCATTERED * (last - first + 1):
            return self._rows(statements.select_numbers(table), numbers=numbers)
        return self._rows(statements.select_range(table), first=first, last=last)

    def _labels(self, table: Table, numbers: Sequence[int]) -> dict[int, Label]:
        rows = self._under_numbers(table, numbers)
        return {row["sequence"]: Label(row["type"], row["correlation_id"]) for row in rows}

    def _gaps(self, numbers: Sequence[int]) -> list[Gap]:
        found = self._rows(statements.SELECT_OVERLAPPING_GAPS, first=numbers[0], last=numbers[-1])
        return [Gap(row["first_sequence"], row["last_sequence"], row["reason"]) for row in found]

    def _rows(self, statement: Executable, **values: object) -> Sequence[RowMapping]:
        return self._connection.execute(statement, {**self._of, **values}).mappings().all()


def _by_table(rows: Iterable[RowMapping]) -> Mapping[str, Sequence[RowMapping]]:
    found: defaultdict[str, list[RowMapping]] = defaultdict(list)
    for row in rows:
        found[row["table"]].append(row)
    return found


def session_of(row: RowMapping) -> SessionFact:
    """Return the event stored in a row of `sessions`."""
    return SessionFact(
        sequence=row["sequence"],
        correlation_id=row["correlation_id"],
        occurred_at=row["occurred_at"],
        query_locale=row["query_locale"],
        body=row["body"],
    )


def answer_of(row: RowMapping) -> AnswerFact:
    """Return the event stored in a row of `email_answers`."""
    return AnswerFact(
        sequence=row["sequence"],
        correlation_id=row["correlation_id"],
        occurred_at=row["occurred_at"],
        status=row["status"],
        address=row["email_address"],
        erased=row["address_erased"],
        body=row["body"],
    )
