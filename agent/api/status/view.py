"""Status for people, on the status page and on a terminal: headlines with advice, then figures.

Reads the JSON of `/agent/v1/status`. The command may come from another version than the agent
that answers it, so any member may be missing or of another type.
"""

from collections.abc import Iterator, Mapping

from agent.api.status import headlines
from agent.api.status.document import Members, number, section, sections
from agent.api.status.headlines import Headline, Level
from agent.api.status.words import Words
from agent.languages.catalogue import english
from sync.runtime.i18n import Language

__all__ = ["Headline", "Level", "Status"]


class Status:
    """The members of a status document in words, English unless another language is given."""

    def __init__(self, members: Members, language: Language | None = None) -> None:
        self._members = members
        self._words = Words(language or english())

    def title(self) -> tuple[str, str]:
        """Return the names of till and store."""
        return str(self._members.get("tillId")), str(self._members.get("storeId"))

    def headlines(self) -> Iterator[Headline]:
        """Yield headlines on capture, losses, delivery, dead letters, terms and the database."""
        members, words = self._members, self._words
        yield headlines.recording(members, words)
        yield from headlines.configuration(members, words)
        yield from headlines.losses(members, words)
        yield from headlines.machine(members, words)
        yield headlines.delivery(members, words)
        yield from headlines.from_head_office(members, words)
        yield from headlines.database(members, words)

    def problems(self) -> list[Headline]:
        """Return the warnings and alarms, in order."""
        urgent = (Level.WARNING, Level.ALARM)
        return [headline for headline in self.headlines() if headline.level in urgent]

    def figures(self) -> dict[str, dict[str, str]]:
        """Return the figures by group and name."""
        return self._named(
            {
                "head_office": self._head_office(),
                "storage": self._storage(),
                "agent": self._agent(),
            }
        )

    def _named(self, groups: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
        say = self._words.say
        return {
            say(f"figure.{group}"): {say(f"figure.{name}"): text for name, text in found.items()}
            for group, found in groups.items()
        }

    def _head_office(self) -> dict[str, str]:
        members, words = self._members, self._words
        central, waiting = section(members, "central"), number(members, "waiting")
        oldest = members.get("oldestWaitingAt")
        last_delivery = section(members, "sync").get("lastDeliveryAt")
        return {
            "address": str(central.get("url") or words.say("figure.not_set")),
            "protocol": str(central.get("protocol") or words.unknown),
            "pending": words.figure(waiting),
            "oldest": words.time(oldest, words.unknown if waiting is None else words.say("none")),
            "dead_letters": words.figure(number(members, "deadLetters")),
            "stuck": words.figure(number(members, "stuck")),
            "last_delivery": words.time(last_delivery, words.say("figure.none_since_start")),
        }

    def _storage(self) -> dict[str, str]:
        members, words = self._members, self._words
        storage = section(members, "storage")
        return {
            "directory": str(storage.get("directory") or words.unknown),
            "database": words.size(storage.get("databaseBytes")),
            "free": words.size(storage.get("freeBytes")),
            "last_sequence": words.figure(number(members, "lastSequence")),
            "epoch": str(members.get("epoch") or words.unknown),
        }

    def _agent(self) -> dict[str, str]:
        members = self._members
        return {
            "till": str(members.get("tillId")),
            "store": str(members.get("storeId")),
            "version": str(members.get("version")),
            "running_since": self._words.time(members.get("startedAt")),
            **self._certificates(),
        }

    def _certificates(self) -> dict[str, str]:
        """Return when each certificate that the agent presents expires; nothing if it has none."""
        words, found = self._words, sections(self._members, "certificates")
        ends = [f"{one.get('file')}: {words.time(one.get('expiresAt'))}" for one in found]
        return {"certificates": ", ".join(ends)} if ends else {}
