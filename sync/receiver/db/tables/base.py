"""Base classes of the tables: the registry, and the keys of store, till, epoch and number."""

from sqlalchemy import BigInteger, Table, Text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel


class LedgerTable(SQLModel, registry=registry()):
    """Base class with the registry of all tables."""


class StoreTable(LedgerTable):
    """Rows of a store; those of head office itself have an empty `store_id`."""

    store_id: str = Field(sa_type=Text, primary_key=True)


class TillTable(StoreTable):
    """Rows of a till."""

    till_id: str = Field(sa_type=Text, primary_key=True)


class EpochTable(TillTable):
    """Rows of an epoch."""

    epoch: str = Field(sa_type=Text, primary_key=True)


class NumberedTable(EpochTable):
    """Rows of a sequence number."""

    sequence: int = Field(sa_type=BigInteger, primary_key=True)


def table_of(model: type[LedgerTable]) -> Table:
    """Return the Core table of `model`, for statements without the ORM."""
    return LedgerTable.metadata.tables[str(model.__tablename__)]
