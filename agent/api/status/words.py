"""Phrases of the status in a language: times, sizes, counts, causes and reasons."""

import re

from agent.api.status.document import Members, sections
from sync.runtime.i18n import Language

_GIB = 1024**3


class Words:
    """Turns values of a status document into phrases of one language."""

    def __init__(self, language: Language) -> None:
        self.say = language

    @property
    def unknown(self) -> str:
        """The phrase for a value that cannot be read now."""
        return self.say("unknown")

    def captures(self, count: int) -> str:
        """Return `2 captures`."""
        return self.say.plural("captures", count)

    def figure(self, count: int | None) -> str:
        """Return a count with grouped thousands."""
        return self.unknown if count is None else self.say.number(count)

    def days(self, value: object) -> str:
        """Return `2.5 days`."""
        return self.say.plural("days", value) if isinstance(value, int | float) else self.unknown

    def time(self, value: object, otherwise: str | None = None) -> str:
        """Format `2026-01-01T00:00:00.000Z` as `2026-01-01 00:00:00 UTC`."""
        if not isinstance(value, str):
            return self.unknown if otherwise is None else otherwise
        date, _, time = value.partition("T")
        return self.say("time", date=date, time=time[:8])

    def size(self, value: object) -> str:
        """Return a size in MiB, or in GiB."""
        if not isinstance(value, int):
            return self.unknown
        return self.say.size_in(value, 2 if value < _GIB else 3)

    def copies(self, storage: Members) -> list[str]:
        """Return the names of copies with the date on which each was made."""
        return [
            self.say("headline.copy", name=one.get("name"), date=str(one.get("madeAt"))[:10])
            for one in sections(storage, "copies")
        ]

    def cause(self, value: object) -> str:
        """Return why delivery fails; text that this version does not know, in quotation marks."""
        return self._known("cause", value)

    def reason(self, value: object) -> str:
        """Return a reason; text that this version does not know, in quotation marks."""
        return self._known("reason", value)

    def _known(self, group: str, value: object) -> str:
        text = str(value)
        name = f"{group}.{slug(text)}"
        return self.say(name) if self.say.has(name) else self.say.quote(text)

    def choice(self, group: str, value: object, otherwise: str) -> str:
        """Return the message of `group` for a value, such as a state."""
        name = f"{group}.{slug(str(value))}"
        return self.say(name if self.say.has(name) else otherwise)


def slug(text: str) -> str:
    """Return the name of the message for an English text of the agent."""
    return re.sub("[^a-z0-9]+", "_", text.lower()).strip("_")
