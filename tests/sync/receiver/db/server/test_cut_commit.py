"""A line that breaks inside of a COMMIT: nothing is acknowledged, and the repeat has no effect."""

import random
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from sync.receiver.db.database import DatabaseUnavailableError
from sync.receiver.db.health.outage import outage_reason
from sync.receiver.db.postgresql import Postgresql
from sync.receiver.privacy.forget import forget_address
from sync.receiver.privacy.redaction import Address
from tests.support.head_office.audit import audit_by
from tests.support.head_office.messages import SimulatedAgent, answer, session
from tests.support.head_office.postgresql import PostgresqlServer, rows_at
from tests.support.head_office.receiver import Receiver, receiver_under_test, settings_in
from tests.support.head_office.relay import Cut, Relay, relay_before

pytestmark = pytest.mark.process

_ADDRESS = "guest@example.com"
_CUTS = {
    "never seen": Cut(of_commit=0),
    "half seen": Cut(of_commit=4),
    "without an answer": Cut(),
    "half answered": Cut(of_answer=9),
}
_SUMS = "SELECT sum(sessions), sum(accepted), sum(arrived) FROM hours"
_ROWS = """
SELECT (SELECT count(*) FROM sessions), (SELECT count(*) FROM email_answers),
    (SELECT count(*) FROM duplicates), (SELECT count(*) FROM gaps)
"""


@dataclass(frozen=True, slots=True)
class Office:
    """A receiver whose line to its database can be cut."""

    receiver: Receiver
    relay: Relay
    url: str


@pytest.fixture
async def office(postgresql_server: PostgresqlServer, tmp_path: Path) -> AsyncIterator[Office]:
    database = make_url(await postgresql_server.new_database()).database
    async with relay_before(postgresql_server) as relay:
        url = f"postgresql+asyncpg://postgres@127.0.0.1:{relay.port}/{database}"
        async with receiver_under_test(settings_in(tmp_path, database={"url": url})) as receiver:
            yield Office(receiver, relay, url)


@pytest.mark.parametrize("cut", _CUTS.values(), ids=_CUTS)
async def test_batch_is_not_acknowledged_and_its_repeat_counts_once(
    office: Office, till: SimulatedAgent, cut: Cut
) -> None:
    await office.receiver.enroll(till)
    events = (session(1, "one"), answer(2, "one"))
    await office.receiver.heartbeat(till)
    office.relay.cut = cut

    lost = await office.receiver.send(till, *events)
    repeated = await office.receiver.send(till, *events)

    assert (lost.status, office.relay.cuts) == (503, 1)
    assert (repeated.status, repeated.members()["acceptedThrough"]) == (200, 2)
    assert await rows_at(office.url, _ROWS) == [(1, 1, 0, 0)]
    assert await rows_at(office.url, _SUMS) == [(1, 1, 2)]


@pytest.mark.parametrize("cut", _CUTS.values(), ids=_CUTS)
async def test_heartbeat_enrolment_and_erasure_are_not_confirmed_and_can_be_repeated(
    office: Office, till: SimulatedAgent, cut: Cut
) -> None:
    office.relay.cut = cut
    with pytest.raises(Exception, match="conn"):
        await office.receiver.enroll(till)
    await office.receiver.enroll(till)
    await office.receiver.send(till, session(1, "one"), answer(2, "one", _ADDRESS))
    office.relay.cut = cut
    lost = await office.receiver.heartbeat(till)
    repeated = await office.receiver.heartbeat(till)
    database = Postgresql(office.url)
    await database.read(lambda _: None)
    office.relay.cut = cut
    with pytest.raises(Exception, match="conn"):
        await forget_address(database, Address.parse(_ADDRESS), audit_by())
    await forget_address(database, Address.parse(_ADDRESS), audit_by())
    await database.close()

    assert (lost.status, repeated.status, office.relay.cuts) == (503, 200, 3)
    left = "SELECT count(*) FROM email_answers WHERE email_address IS NOT NULL"
    assert await rows_at(office.url, left) == [(0,)]


async def test_commit_of_a_failed_transaction_is_told_as_rolled_back(
    postgresql_server: PostgresqlServer,
) -> None:
    """The server answers it without an error; then a standby was blamed that nobody has."""

    def fail(connection: Connection) -> None:
        with suppress(DBAPIError):
            connection.exec_driver_sql("SELECT 1 / 0")

    database = Postgresql(await postgresql_server.new_database())
    with pytest.raises(DatabaseUnavailableError, match="ROLLBACK") as raised:
        await database.write(fail)
    await database.close()

    assert outage_reason(raised.value) == "the transaction was rolled back, see the log"


@pytest.mark.campaign
async def test_line_that_breaks_anywhere_loses_and_doubles_nothing(
    office: Office, till: SimulatedAgent
) -> None:
    await office.receiver.enroll(till)
    draw = random.Random(23)
    acknowledged = 0
    for number in range(1, 201):
        if draw.random() < 0.7:
            is_seen = draw.random() < 0.5
            office.relay.cut = (
                Cut(of_answer=draw.randrange(24)) if is_seen else Cut(draw.randrange(8))
            )
        while (response := await office.receiver.send(till, session(number))).status != 200:
            assert response.status == 503
        acknowledged = int(str(response.members()["acceptedThrough"]))
        stored = await rows_at(office.url, "SELECT count(*) FROM sessions")
        assert stored == [(acknowledged,)]

    assert acknowledged == 200
    assert office.relay.cuts > 100
    assert await rows_at(office.url, "SELECT sum(sessions) FROM hours") == [(200,)]
    assert await rows_at(office.url, _ROWS) == [(200, 0, 0, 0)]
