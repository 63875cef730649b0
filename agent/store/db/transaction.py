"""Transactions of a writing connection, by the driver or in an SQLModel session.

Statements on the hot paths run on the driver's connection; everything else uses a session, about
0.3 ms slower for each transaction. Both begin with BEGIN IMMEDIATE: the driver's own handling is
off, since its deferred BEGIN can fail on the first write at once, regardless of the busy timeout.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, StaticPool, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the body in one transaction, committed and synced on return.

    After a full disk or an I/O error SQLite has already rolled back; a second ROLLBACK would
    only hide the error.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def writing_engine(connection: sqlite3.Connection) -> Engine:
    """Return an engine for sessions on `connection`, which stays open."""
    engine = create_engine(
        "sqlite://", creator=lambda: connection, poolclass=StaticPool, pool_reset_on_return=None
    )
    event.listen(engine, "begin", lambda begun: begun.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


@contextmanager
def session_on(engine: Engine) -> Iterator[Session]:
    """Run the body in one transaction of a session. Raises the driver's own errors."""
    try:
        with Session(engine) as session, session.begin():
            yield session
    except DBAPIError as error:
        raise error.orig or error from error
