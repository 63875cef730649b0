"""Property: any rows deleted from any table are named by the audit, and no others."""

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import ColumnElement, Delete, Table, delete

from sync.receiver.db.conditions import is_epoch, params_for
from sync.receiver.db.tables import agents, answers, duplicates, gaps, rejections
from sync.receiver.db.tables import sessions as started
from sync.receiver.reports.completeness.audit import audit
from sync.receiver.reports.completeness.state import EpochCompleteness, Range
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import (
    Members,
    SimulatedAgent,
    answer,
    session,
    sessions,
    wire_time,
)

KINDS = {"session": started, "answer": answers, "refused": rejections, "double": duplicates}
_store_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class History:
    """Events of a till: a leading gap, then one event per number."""

    not_held: int
    kinds: list[str]

    @property
    def last(self) -> int:
        return self.not_held + len(self.kinds)

    def events(self) -> list[Members]:
        return [self._event(number) for number in range(self.not_held + 1, self.last + 1)]

    def tables(self) -> dict[int, Table]:
        """Return the table that holds each number."""
        own = enumerate(self.kinds, self.not_held + 1)
        return dict.fromkeys(range(1, self.not_held + 1), gaps) | {n: KINDS[k] for n, k in own}

    def _event(self, number: int) -> Members:
        match self.kinds[number - self.not_held - 1]:
            case "answer":
                return answer(number, f"{number}")
            case "refused":
                return session(number, f"{number}", occurredAt="yesterday")
            case "double":
                first = self.not_held + 1
                return session(number, f"{first}", occurredAt=wire_time(first - 1000))
            case _:
                return session(number, f"{number}")


HISTORIES = st.builds(
    lambda not_held, kinds: History(not_held, ["session", *kinds]),
    st.integers(0, 3),
    st.lists(st.sampled_from(sorted(KINDS)), max_size=12),
)


def rows_of(table: Table, numbers: Collection[int]) -> ColumnElement[bool]:
    column = table.c.first_sequence if table is gaps else table.c.sequence
    return column.in_(numbers)


async def run(office: LedgerDriver, gone: Delete, till: SimulatedAgent) -> None:
    epoch = params_for(till.name, till.epoch)
    await office.database.write(lambda connection: connection.execute(gone, epoch) and None)


async def lose(office: LedgerDriver, till: SimulatedAgent, lost: Mapping[int, Table]) -> None:
    """Delete the rows of these numbers."""
    for table in set(lost.values()):
        numbers = [number for number, stands in lost.items() if stands is table]
        gone = delete(table).where(is_epoch(table), rows_of(table, numbers))
        await run(office, gone, till)


async def lose_agent(office: LedgerDriver, till: SimulatedAgent) -> None:
    gone = delete(agents).where(is_epoch(agents))
    await run(office, gone, till)


def in_ranges(numbers: Collection[int]) -> list[Range]:
    found: list[Range] = []
    for number in sorted(numbers):
        if found and found[-1].last == number - 1:
            found[-1] = Range(found[-1].first, number)
        else:
            found.append(Range(number, number))
    return found


def a_store() -> SimulatedAgent:
    return SimulatedAgent(store_id=f"{next(_store_numbers):06}")


async def audited(office: LedgerDriver, store_id: str) -> dict[str, EpochCompleteness]:
    return {epoch.till_id: epoch async for epoch in audit(office.database, store_id)}


# Each example uses a store of its own in one database, whose speed depends on the machine.
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=HISTORIES, drawn=st.data())
async def test_rows_deleted_from_any_table_are_named_and_no_others(
    office: LedgerDriver, history: History, drawn: st.DataObject
) -> None:
    till = a_store()
    other = SimulatedAgent(till.store_id, "till-2")
    await office.take(till, *history.events(), baseSequence=history.not_held + 1)
    await office.take(other, *sessions(100, 103), baseSequence=100)
    # A gap is one row for all its numbers.
    not_held = range(1, history.not_held + 1)
    rows = [{n} for n in range(history.not_held + 1, history.last + 1)]
    rows += [set(not_held)] if not_held else []
    gone = set().union(*drawn.draw(st.lists(st.sampled_from(rows), unique_by=min)))
    is_agent_gone = drawn.draw(st.booleans())

    tables = history.tables()
    await lose(office, till, {number: tables[number] for number in gone if number not in not_held})
    await lose(office, till, {1: gaps} if gone.intersection(not_held) else {})
    if is_agent_gone:
        await lose_agent(office, till)

    found = await audited(office, till.store_id)
    standing = set(tables) - gone
    through = max(standing, default=0) if is_agent_gone else history.last
    ours = found.pop("till-1", None)
    if ours is None:
        assert is_agent_gone
        assert not standing
    else:
        assert ours.missing == in_ranges({number for number in gone if number <= through})
        assert (ours.listed, ours.accepted_through) == (not is_agent_gone, through)
        assert ours.complete_through == min(gone | {through + 1}) - 1
    assert [epoch.missing for epoch in found.values()] == [[]]


async def test_store_without_any_row_in_agents_is_still_audited(office: LedgerDriver) -> None:
    till = a_store()
    await office.take(till, *sessions(1, 3))
    await lose_agent(office, till)

    (epoch,) = [epoch async for epoch in audit(office.database, None)]

    assert (epoch.store_id, epoch.listed, epoch.is_complete) == (till.store_id, False, False)
