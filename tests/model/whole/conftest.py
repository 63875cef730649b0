"""Head offices for histories: on SQLite, and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.model.whole.history import Histories, histories_on_sqlite


@pytest.fixture(scope="package")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Histories]:
    """Run histories with head office on SQLite."""
    with histories_on_sqlite(Path(tmp_path_factory.mktemp("whole"))) as running:
        yield running
