"""What tests of several folders ask for."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.head_office.postgresql import PostgresqlServer, started_server

# A machine's speed is nothing that a test asserts.
settings.register_profile("ours", deadline=None)
settings.load_profile("ours")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """One server for all; a test asks it for a database of its own."""
    with started_server() as server:
        yield server


@pytest.fixture
def crashing_postgresql_server() -> Iterator[PostgresqlServer]:
    """A server for one test, which may crash it.

    To recover it syncs every file that it has: minutes on a busy disk, where it is everybody's.
    """
    with started_server() as server:
        yield server
