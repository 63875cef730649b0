"""Control: the model finds each fault that was mended if it is planted again."""

import pytest

from tests.model.whole.found import HISTORIES
from tests.model.whole.history import Histories
from tests.model.whole.planted import FAULTS, planted

pytestmark = pytest.mark.campaign


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_found(on_sqlite: Histories, name: str) -> None:
    fault = FAULTS[name]
    with planted(fault), pytest.raises(AssertionError) as found:
        on_sqlite.run(HISTORIES[fault.history])
    print(f"{name}: {found.value}")
