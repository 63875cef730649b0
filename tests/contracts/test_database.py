"""What the ledger relies on: a piece of work is done as a whole or not at all."""

import pytest
from sqlalchemy import Connection, insert, literal, select

from sync.receiver.db.statements import boots
from sync.receiver.db.tables import Boot
from tests.contracts.office import Office
from tests.head_office.sender import AT


class MishapError(Exception):
    """What goes wrong in the middle of a piece of work."""


async def test_work_that_fails_leaves_nothing_whatever_its_connection_was_used_for(
    office: Office,
) -> None:
    """A single look has no transaction; the connection it used must have one again."""
    row: dict[str, object] = {
        "store_id": "0042",
        "till_id": "till-1",
        "boot_id": "boot-1",
        "zero_at": AT,
    }
    await office.database.read_first(select(literal(42).label("answer")), {})

    with pytest.raises(MishapError):
        await office.database.write(lambda connection: _fail_after(connection, row))

    assert await office.rows(Boot, "boot_id") == []


def _fail_after(connection: Connection, row: dict[str, object]) -> None:
    connection.execute(insert(boots), row)
    raise MishapError
