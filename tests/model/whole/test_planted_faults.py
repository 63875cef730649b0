"""Control: each fault that was mended is found by random histories if it is planted again."""

import pytest

from tests.model.whole.campaign import run_histories
from tests.model.whole.generate import histories
from tests.model.whole.history import Histories
from tests.model.whole.planted import FAULTS, planted

pytestmark = pytest.mark.campaign
MOST_HISTORIES = 1_500


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_found(on_sqlite: Histories, name: str) -> None:
    fault = FAULTS[name]
    with planted(fault), pytest.raises(AssertionError) as found:
        run_histories(on_sqlite, histories(fault.kinds), MOST_HISTORIES, seeded=1)
    print(f"{name}\n{found.value}")
