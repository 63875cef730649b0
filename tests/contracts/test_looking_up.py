"""The lookup for a batch reads only rows that concern it, however scattered its numbers are."""

from sync.receiver.auth.tokens import EnrolledAgent
from sync.receiver.ingest.accept import LedgerState
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


async def looked_up(office: LedgerDriver, *events: Members) -> LedgerState:
    """Return the ledger state for a batch of known numbers."""
    inbound = parse_batch(TILL.batch(*events), EnrolledAgent(TILL.name, AT), office.at)
    placement = place_batch([event.sequence for event in inbound.events], 1, THROUGH)
    assert isinstance(placement, Placement)
    return await office.database.read(lambda c: look_up(c, inbound, placement.resent))


async def test_lookup_of_retried_events_skips_the_rows_between_them(
    office: LedgerDriver,
) -> None:
    """Daily retries may be a year apart; a range scan would read that whole year."""
    wrong = session(2, "b", occurredAt="yesterday"), answer(THROUGH, "b", occurredAt="then")
    between = [*sessions(3, THROUGH - 2), answer(THROUGH - 1, "session-3")]
    await office.take(TILL, session(1), wrong[0], *between, wrong[1])

    known = await looked_up(office, *wrong)

    assert set(known.rejected) == {2, THROUGH}
    assert known.stored == {}


async def test_scattered_numbers_are_looked_up_in_every_table(office: LedgerDriver) -> None:
    again = session(200, "session-1", occurredAt=sessions(1, 1)[0]["occurredAt"])
    again["body"] = session(1)["body"]
    told = answer(120, "session-1")
    refused = session(60, "x", occurredAt="yesterday")
    events = {event["sequence"]: event for event in sessions(1, THROUGH)}
    events |= {60: refused, 120: told, 200: again}
    await office.take(TILL, *events.values())

    known = await looked_up(office, session(1), refused, told, again, session(THROUGH))

    assert set(known.stored) == {1, 120, THROUGH}
    assert (set(known.rejected), set(known.duplicates)) == ({60}, {200})
