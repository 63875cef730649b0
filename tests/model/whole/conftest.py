"""Head offices for histories: on SQLite, and on PostgreSQL."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.model.whole.history import Histories, histories_on_postgresql, histories_on_sqlite
from tests.support.head_office.postgresql import PostgresqlServer


@pytest.fixture(scope="package")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Histories]:
    """Run histories with head office on SQLite."""
    with histories_on_sqlite(Path(tmp_path_factory.mktemp("whole"))) as running:
        yield running


@pytest.fixture
def on_postgresql(postgresql_server: PostgresqlServer, tmp_path: Path) -> Iterator[Histories]:
    """Run histories with head office on PostgreSQL."""
    url = asyncio.run(postgresql_server.new_database())
    with histories_on_postgresql(tmp_path, url) as running:
        yield running
