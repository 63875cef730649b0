"""How a section of the configuration behaves: frozen, closed, with rules that span settings."""

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

CONTRADICTION = "contradiction"


class Section(BaseModel):
    """A table of the configuration file. Frozen; a name it does not know is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def contradiction(found: dict[str, str]) -> PydanticCustomError:
    """Return the error for settings that are each fine but do not go together.

    `found` maps the name of the setting to mend, relative to the section, to what is
    wrong. One error carries them all: pydantic takes one from each validator.
    """
    return PydanticCustomError(CONTRADICTION, "settings contradict each other", {"found": found})
