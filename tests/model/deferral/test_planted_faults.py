"""Control: the model finds each fault of deferral that was mended if it is planted again."""

import pytest

from tests.model.deferral.found import HISTORIES
from tests.model.deferral.history import Histories
from tests.model.deferral.planted import FAULTS
from tests.model.whole.planted import planted

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_found(deferrals: Histories, name: str) -> None:
    fault = FAULTS[name]
    with planted(fault), pytest.raises(AssertionError) as found:
        deferrals.run(HISTORIES[fault.history])
    print(f"{name}: {found.value}")
