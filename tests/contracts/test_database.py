"""Transactions: work is committed completely or not at all."""

import pytest
from sqlalchemy import Connection, insert, literal, select

from sync.receiver.db.tables import BootRecord, boots
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT


class MishapError(Exception):
    """Raised in the middle of a transaction."""


async def test_failed_work_is_rolled_back_after_any_use_of_the_connection(
    office: LedgerDriver,
) -> None:
    """A single SELECT runs outside a transaction; the next write must still begin one."""
    row: dict[str, object] = {
        "store_id": "0042",
        "till_id": "till-1",
        "boot_id": "boot-1",
        "zero_at": AT,
    }
    await office.database.read_first(select(literal(42).label("answer")), {})

    with pytest.raises(MishapError):
        await office.database.write(lambda connection: _fail_after(connection, row))

    assert await office.rows(BootRecord, "boot_id") == []


def _fail_after(connection: Connection, row: dict[str, object]) -> None:
    connection.execute(insert(boots), row)
    raise MishapError
