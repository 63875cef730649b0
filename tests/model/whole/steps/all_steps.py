"""The chain with all steps."""

from tests.model.whole.steps.agents import AgentSteps
from tests.model.whole.steps.office import OfficeSteps
from tests.model.whole.steps.store_it import StoreSteps
from tests.model.whole.steps.tills import TillSteps


class AllSteps(TillSteps, AgentSteps, StoreSteps, OfficeSteps):
    """A chain to which everything can happen."""
