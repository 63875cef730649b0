"""What tests of several folders ask for."""

from collections.abc import Iterator

import pytest

from tests.head_office.postgresql import PostgresqlServer, started_server


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """One server for all; a test asks it for a database of its own."""
    with started_server() as server:
        yield server
