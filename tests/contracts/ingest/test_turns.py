"""A long batch is stored in turns, so that other agents' batches are stored in between."""

from collections.abc import Callable
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from sync.receiver.db.tables import AgentRecord, SessionRecord
from sync.receiver.ingest.ledger import Ledger
from sync.receiver.ingest.ledger_state import AcceptedBatch
from sync.receiver.ingest.placement import SequenceGap
from sync.receiver.ingest.slices import TURN_EVENTS, USUAL_EVENTS
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import SimulatedAgent, session, sessions

T = TypeVar("T")
TILL = SimulatedAgent()
LONG = 2 * TURN_EVENTS + 1


class FailingAfter:
    """A database that fails after this many writes."""

    def __init__(self, office: LedgerDriver, writes: int) -> None:
        self._database = office.database
        self.writes = writes

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, or fail."""
        if not self.writes:
            raise OSError("the database is away")
        self.writes -= 1
        return await self._database.write(work)


async def test_long_batch_takes_three_turns_and_its_result_covers_all(office: LedgerDriver) -> None:
    counted = FailingAfter(office, 3)
    office.ledger = Ledger(counted)  # type: ignore[arg-type] # it only writes
    events = [*sessions(1, LONG - 1), session(LONG, type="unknown")]

    result = await office.take(TILL, *events)

    assert (counted.writes, result.accepted_through) == (0, LONG)
    assert len(result.sessions) == LONG - 1
    assert [rejection.sequence for rejection in result.rejections] == [LONG]


async def test_batch_that_failed_between_two_turns_is_completed_by_its_resend(
    office: LedgerDriver,
) -> None:
    whole = office.ledger
    office.ledger = Ledger(FailingAfter(office, 1))  # type: ignore[arg-type] # it only writes
    with pytest.raises(OSError, match="away"):
        await office.offer(TILL, *sessions(1, LONG))
    office.ledger = whole
    result = await office.take(TILL, *sessions(1, LONG))

    assert result.accepted_through == LONG
    numbers = [row[0] for row in await office.rows(SessionRecord, "sequence")]
    assert numbers == list(range(1, LONG + 1))
    assert (result.altered, result.rejections) == ([], [])


async def test_turns_of_a_batch_that_ends_its_epoch_end_it_with_the_last_event(
    office: LedgerDriver,
) -> None:
    """Else head office calls an epoch complete of which the agent still holds the rest."""
    office.ledger = Ledger(FailingAfter(office, 1))  # type: ignore[arg-type] # it only writes

    with pytest.raises(OSError, match="away"):
        await office.offer(TILL, *sessions(1, LONG), endsEpoch=True)

    assert await office.rows(AgentRecord, "accepted_through", "ended_through") == [
        (TURN_EVENTS, None)
    ]


async def test_long_batch_with_a_gap_in_a_later_turn_is_not_stored_in_part(
    office: LedgerDriver,
) -> None:
    outcome = await office.offer(TILL, *sessions(1, LONG - 1), session(LONG + 5))

    assert outcome == SequenceGap(LONG)
    assert await office.rows(SessionRecord, "sequence") == []


async def test_usual_batch_is_one_transaction(office: LedgerDriver) -> None:
    counted = FailingAfter(office, 1)
    office.ledger = Ledger(counted)  # type: ignore[arg-type] # it only writes

    result = await office.offer(TILL, *sessions(1, USUAL_EVENTS))

    assert isinstance(result, AcceptedBatch)


async def test_resend_of_numbers_that_lie_apart_takes_turns_as_well(office: LedgerDriver) -> None:
    whole = office.ledger
    await office.take(TILL, *sessions(1, 2 * LONG))
    counted = FailingAfter(office, LONG)
    office.ledger = Ledger(counted)  # type: ignore[arg-type] # it only writes
    apart = sessions(1, 2 * LONG)[::2]

    result = await office.take(TILL, *apart)

    assert LONG - counted.writes == -(-LONG // TURN_EVENTS)
    assert (result.accepted_through, result.sessions, result.rejections) == (2 * LONG, [], [])
    office.ledger = whole
    mixed = [*apart, *sessions(2 * LONG + 1, 2 * LONG + 2), session(2 * LONG + 9)]
    assert await office.offer(TILL, *mixed) == SequenceGap(2 * LONG + 3)
    assert len(await office.rows(SessionRecord, "sequence")) == 2 * LONG
