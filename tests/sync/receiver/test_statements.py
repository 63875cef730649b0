"""Every statement that the receiver puts to PostgreSQL names its store, or is listed here."""

import re
from pathlib import Path

import pytest

from tests.head_office.postgresql import PostgresqlServer
from tests.head_office.receiver import Receiver, receiver_under_test, settings_in
from tests.head_office.sender import Sender, answer, erased, moment, session
from tests.head_office.spreading import heard, names_its_store


async def use(receiver: Receiver, till: Sender) -> None:
    """Ask all that agents ask: new, again, altered, refused, missing, restored, in a new epoch."""
    await receiver.enroll(till)
    await receiver.beat(till, lastSequence=2)
    await receiver.send(till, session(3, "a"), erased(4, "a"), baseSequence=3)
    await receiver.send(till, session(3, "a"), answer(4, "a"), answer(5, "b"), session(6, "c"))
    await receiver.send(till, session(1, "d"), session(3, "e"), session(5, "b"), session(7, "c"))
    await receiver.send(till, session(9, "f"))
    later = Sender(till.store_id, till.till_id, "0b1f3f8e-5f0f-4b0c-8f53-8bfc0b1ad2a4")
    # The first epoch's session once more, under another number.
    await receiver.send(later, session(1, "a", occurredAt=moment(3 - 1000)), answer(2, "b"))
    await receiver.beat(later, epochs=[{"epoch": till.epoch, "lastSequence": 9}])
    token = receiver.tokens[till.store_id, till.till_id]
    await receiver.get("/sync/v1/program", Authorization=f"Bearer {token}")


async def test_whatever_an_agent_asks_concerns_its_store_alone(
    postgresql_server: PostgresqlServer, till: Sender, tmp_path: Path
) -> None:
    url = await postgresql_server.new_database()
    async with receiver_under_test(settings_in(tmp_path, database={"url": url})) as receiver:
        with heard() as statements:
            await use(receiver, till)

    assert [one for one in statements if not names_its_store(one)] == []
    changed = {" ".join(one.split()[:3]) for one in statements if not one.startswith("SELECT")}
    assert changed >= {
        "INSERT INTO tokens",
        "INSERT INTO agents",
        "INSERT INTO boots",
        "INSERT INTO sessions",
        "INSERT INTO email_answers",
        "INSERT INTO rejections",
        "INSERT INTO doubles",
        "INSERT INTO gaps",
        "INSERT INTO hours",
    }


# Read by people, of the chain as a whole, and by a supervisor; each is a read, and a short one.
# Also within a WITH, and the locks that a read can take.
CHANGES = re.compile(r"\b(INSERT|UPDATE|DELETE|FOR SHARE)\b")
READ_OF_ALL_STORES = {
    "/readyz": "whether the database can be read: one row of any store",
    "/": "the fleet page",
    "/history": "the plots' page",
    "/metrics": "the fleet in a few figures",
    "/history.json": "the plots' figures",
    "/sessions?id=a": "a correlation id is asked for without its store",
    "/v1/completeness": "the account of all stores",
    "/v1/stores": "all enrolled tills, and how far each is",
    "/v1/sessions/a": "a correlation id is asked for without its store",
}


@pytest.mark.parametrize("path", READ_OF_ALL_STORES)
async def test_only_reads_are_of_all_stores(
    postgresql_server: PostgresqlServer, till: Sender, tmp_path: Path, path: str
) -> None:
    url = await postgresql_server.new_database()
    async with receiver_under_test(settings_in(tmp_path, database={"url": url})) as receiver:
        await receiver.enroll(till)
        await receiver.send(till, session(1, "a"), answer(2, "a"))
        with heard() as statements:
            assert (await receiver.get(path)).status == 200

    of_all = [one for one in statements if not names_its_store(one)]
    assert of_all
    assert [one for one in of_all if CHANGES.search(one)] == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM sessions WHERE correlation_id = $1",
        "UPDATE agents SET store_id = $1",
        "DELETE FROM gaps",
        "INSERT INTO boots (till_id, boot_id) VALUES ($1, $2)",
        "SELECT * FROM sessions WHERE store_id IN (SELECT store_id FROM agents)",
    ],
)
def test_a_statement_of_all_stores_is_noticed(statement: str) -> None:
    assert not names_its_store(statement)
