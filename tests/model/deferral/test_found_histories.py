"""Histories of deferral that once broke a promise break none any more."""

import pytest

from tests.model.deferral.found import HISTORIES
from tests.model.deferral.history import Histories


@pytest.mark.parametrize("name", HISTORIES)
def test_history_breaks_no_promise(deferrals: Histories, name: str) -> None:
    deferrals.run(HISTORIES[name])
