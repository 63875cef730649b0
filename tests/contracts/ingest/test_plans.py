"""Plans on PostgreSQL: large batches have their own, also while the tables are not analysed."""

from collections.abc import Callable
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from sync.receiver.auth.tokens import EnrolledAgent
from sync.receiver.db.database import Database
from sync.receiver.db.postgresql import Postgresql
from sync.receiver.ingest.ledger import Ledger
from sync.receiver.ingest.parse import parse_batch
from tests.support.head_office.messages import AT, SimulatedAgent, sessions
from tests.support.head_office.postgresql import PostgresqlServer

T = TypeVar("T")
TILL = SimulatedAgent()


class SeenPlans:
    """Notes the plan mode at the end of each transaction of a database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.modes: list[object] = []

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work`."""

        def seen(connection: Connection) -> T:
            result = work(connection)
            self.modes.append(connection.exec_driver_sql("SHOW plan_cache_mode").scalar_one())
            return result

        return await self._database.write(seen)


@pytest.mark.postgresql
async def test_large_batch_is_planned_for_its_values_and_a_small_one_is_not(
    postgresql_server: PostgresqlServer,
) -> None:
    """The plan made for the first batches of a new database read the whole store for each."""
    database = Postgresql(await postgresql_server.new_database())
    await database.open()
    plans = SeenPlans(database)
    ledger = Ledger(plans)  # type: ignore[arg-type] # it only writes
    for first, last in ((1, 10), (11, 510), (511, 520)):
        batch = TILL.batch(*sessions(first, last))
        await ledger.store_batch(parse_batch(batch, EnrolledAgent(TILL.name, AT), AT))
    await database.close()

    assert plans.modes == ["auto", "force_custom_plan", "auto"]
