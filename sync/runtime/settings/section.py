"""Base class of a section: frozen, no unknown keys, validation across settings."""

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

CONTRADICTION = "contradiction"


class Section(BaseModel):
    """A table of the configuration file. Frozen; unknown keys are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def contradiction(found: dict[str, str]) -> PydanticCustomError:
    """Return the error for settings that are valid one by one but not together.

    `found` maps each setting to change (its name in the section) to a message. One error
    carries all of them: pydantic accepts only one from each validator.
    """
    return PydanticCustomError(CONTRADICTION, "settings contradict each other", {"found": found})
