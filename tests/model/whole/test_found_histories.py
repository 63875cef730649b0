"""Histories that once broke a promise break none any more."""

import pytest

from tests.model.whole.found import HISTORIES
from tests.model.whole.history import Histories


@pytest.mark.parametrize("name", HISTORIES)
def test_history_breaks_no_promise(on_sqlite: Histories, name: str) -> None:
    on_sqlite.run(HISTORIES[name])
