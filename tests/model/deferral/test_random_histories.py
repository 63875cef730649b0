"""Random histories of events that fail, each in its own way, break no promise.

A failure is printed as a list of steps, shrunk: add it to `found.py`.
"""

import pytest

from tests.model.deferral.generate import STEPS_OF, histories
from tests.model.deferral.history import Histories
from tests.model.deferral.shop import KINDS
from tests.model.whole.campaign import run_histories


@pytest.mark.slow
def test_random_histories_break_no_promise(deferrals: Histories) -> None:
    run_histories(deferrals, histories(STEPS_OF), 25, seeded=23)


@pytest.mark.campaign
@pytest.mark.parametrize("protocol", KINDS)
def test_many_random_histories_break_no_promise(deferrals: Histories, protocol: str) -> None:
    run_histories(deferrals, histories(STEPS_OF, [protocol]), 2_000, seeded=24)
