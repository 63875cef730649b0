"""The largest numbers that an agent can tell of, be it out of its mind, hold nobody else up."""

from sqlalchemy import Connection

from sync.receiver.reports.completeness import audit
from sync.receiver.reports.fleet import Question, fleet, tally
from sync.receiver.reports.fleet_figures import FleetWatch
from sync.receiver.reports.store import one_store
from sync.receiver.reports.tills import Moment
from tests.contracts.office import Office
from tests.head_office.sender import Sender, session

MOST = 2**63 - 1
AT_LAST = session(1) | {"sequence": MOST}
TILLS = [Sender(), Sender(till_id="till-2"), Sender(store_id="0043")]


async def test_waiting_and_refused_events_are_summed_up_to_any_number(office: Office) -> None:
    for till in TILLS:
        most = {"lastSequence": MOST, "watermark": MOST, "outstanding": MOST, "deadLetters": MOST}
        await office.hear(till, **most, freeBytes=MOST, databaseBytes=MOST)

    def read(connection: Connection) -> tuple[int, int]:
        moment = Moment(office.at, "0.1.0", connection.dialect)
        assert one_store(connection, moment, "0042") is not None
        return len(fleet(connection, moment, Question()).stores), tally(connection, moment).stores

    assert await office.database.read(read) == (2, 2)


async def test_the_account_goes_up_to_the_last_number_there_is(office: Office) -> None:
    for till in TILLS:
        await office.take(till, AT_LAST, baseSequence=MOST)

    found = [one async for one in audit(office.database, None)]

    assert [one.complete_through for one in found] == [MOST] * len(TILLS)
    assert [one.missing for one in found] == [[]] * len(TILLS)
    figures = await FleetWatch(office.database, lambda: office.at, "0.1.0").look()
    assert figures is not None
    assert figures.gap_events >= MOST
