"""Fixtures that several folders use."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.head_office.postgresql import PostgresqlServer, started_server

# No test asserts speed, so Hypothesis sets no deadline.
settings.register_profile("ours", deadline=None)
settings.load_profile("ours")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """Run one server for the whole session; each test creates its own database on it."""
    with started_server() as server:
        yield server


@pytest.fixture
def crashing_postgresql_server() -> Iterator[PostgresqlServer]:
    """Run a server that a test may crash.

    Recovery syncs every file of the server: with the shared one this takes minutes on a busy disk.
    """
    with started_server() as server:
        yield server
