"""The lookup for a batch reads only rows that concern it, however scattered its numbers are."""

from sync.receiver.auth.tokens import EnrolledAgent
from sync.receiver.ingest.ledger_state import LedgerState
from sync.receiver.ingest.lookup import look_up
from sync.receiver.ingest.parse import parse_batch
from sync.receiver.ingest.placement import Placement, place_batch
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import (
    AT,
    Members,
    SimulatedAgent,
    answer,
    session,
    sessions,
)

TILL = SimulatedAgent()
THROUGH = 300


async def look_up_state(office: LedgerDriver, *events: Members) -> LedgerState:
    """Return the ledger state for a batch of known numbers."""
    inbound = parse_batch(TILL.batch(*events), EnrolledAgent(TILL.name, AT), office.at)
    placement = place_batch([e.sequence for e in inbound.events], 1, THROUGH, THROUGH)
    assert isinstance(placement, Placement)
    return await office.database.read(lambda c: look_up(c, inbound, placement.resent))


async def test_lookup_of_retried_events_skips_the_rows_between_them(
    office: LedgerDriver,
) -> None:
    """Daily retries may be a year apart; a range scan would read that whole year."""
    wrong = session(2, "b", occurredAt="yesterday"), answer(THROUGH, "b", occurredAt="then")
    between = [*sessions(3, THROUGH - 2), answer(THROUGH - 1, "session-3")]
    await office.take(TILL, session(1), wrong[0], *between, wrong[1])

    state = await look_up_state(office, *wrong)

    assert set(state.rejected) == {2, THROUGH}
    assert state.stored == {}


async def test_scattered_numbers_are_looked_up_in_every_table(office: LedgerDriver) -> None:
    duplicate = session(200, "session-1", occurredAt=sessions(1, 1)[0]["occurredAt"])
    duplicate["body"] = session(1)["body"]
    an_answer = answer(120, "session-1")
    rejected = session(60, "x", occurredAt="yesterday")
    events = {event["sequence"]: event for event in sessions(1, THROUGH)}
    events |= {60: rejected, 120: an_answer, 200: duplicate}
    await office.take(TILL, *events.values())

    state = await look_up_state(
        office, session(1), rejected, an_answer, duplicate, session(THROUGH)
    )

    assert set(state.stored) == {1, 120, THROUGH}
    assert (set(state.rejected), set(state.duplicates)) == ({60}, {200})
