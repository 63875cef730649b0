"""Status for people, on the status page and on a terminal: headlines with advice, then figures.

Reads the JSON of `/agent/v1/status`. The command may come from another version than the agent
that answers it, so any member may be missing or of another type.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from agent.facts import HOW_TO_JOIN, unset_for_delivery
from sync.delivery.outcomes import FailureCause

_GIB = 1024**3
_UNKNOWN = "unknown"
_RECORDING = {
    "ready": "Captures are recorded on this machine.",
    "full": "Captures are rejected: the disk is full.",
    "down": "Captures are rejected: the storage is not available.",
    # Said by the command, not by the agent.
    "not running": "Captures are not recorded: the agent does not run.",
    "no answer": "It is unknown whether captures are recorded: the agent does not answer.",
}


class Level(StrEnum):
    """Urgency of a headline: fine, to be noted, to be looked into, to be acted on now."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ALARM = "alarm"


class Headline(NamedTuple):
    """One statement on the state of the agent."""

    level: Level
    text: str


_DELIVERY = {
    "idle": Headline(Level.OK, "Delivery to head office works. Pending: {pending}."),
    "delivering": Headline(Level.OK, "Delivering to head office. Pending: {pending}."),
    "quiet hours": Headline(Level.OK, "No delivery during quiet hours. Pending: {pending}."),
    "capture only": Headline(
        Level.NOTE, "Captures of {name} are stored here and not delivered: {unset}. {join}."
    ),
    "retrying": Headline(
        Level.NOTE,
        "Head office is unreachable: {cause}. Pending: {pending}{next_try}. No action needed.",
    ),
    "holding": Headline(
        Level.ALARM,
        "Head office rejects this machine: {cause}. Pending: {pending}."
        " For advice: loyalty-agent doctor",
    ),
}
# Other failures may need an action: a certificate, the clock, the settings, the disk. A tuple: the
# JSON may hold an unhashable value.
_ENDS_BY_ITSELF = (
    FailureCause.NETWORK_DOWN,
    FailureCause.NO_CONNECTION,
    FailureCause.CENTRAL_DOWN,
    FailureCause.NO_RESPONSE,
    FailureCause.OVERLOADED,
    FailureCause.SERVER_ERROR,
)
_FAILING = Headline(
    Level.WARNING,
    "Delivery to head office fails: {cause}. Pending: {pending}{next_try}."
    " For advice: loyalty-agent doctor",
)
_OTHER_DELIVERY = Headline(Level.NOTE, "Delivery state: {state}. Pending: {pending}.")


class Status:
    """The members of a status document, by type."""

    def __init__(self, members: Mapping[str, object]) -> None:
        self._members = members
        self._storage = _section(members, "storage")
        self._central = _section(members, "central")
        self._sync = _section(members, "sync")

    def title(self) -> tuple[str, str]:
        """Return the names of till and store."""
        return str(self._members.get("tillId")), str(self._members.get("storeId"))

    def headlines(self) -> Iterator[Headline]:
        """Yield headlines on capture, losses, delivery, dead letters, terms and the database."""
        yield self._recording()
        if rejected := _section(self._members, "configurationRejected"):
            used = _time(rejected.get("inUseSince"), _UNKNOWN)
            text = f"The configuration is wrong, and that of {used} is in use"
            yield Headline(Level.ALARM, f"{text}: {rejected.get('reason')}")
        yield from self._losses()
        if taken := self._members.get("portTakenAt"):
            text = f"Another program listens on {taken}: tills that call localhost may reach it"
            yield Headline(Level.ALARM, f"{text}. For the program: loyalty-agent doctor")
        if since := self._members.get("nameSharedSince"):
            text = f"Head office hears two machines under this name since {since}"
            yield Headline(
                Level.ALARM, f"{text}: enrol one of them under another till_id. Nothing is lost."
            )
        yield self._delivery()
        if letters := _number(self._members, "deadLetters"):
            text = f"Head office rejected {_captures(letters)}. For the reasons:"
            yield Headline(Level.WARNING, f"{text} loyalty-agent dead-letters list")
        if refused := _section(self._members, "termsRefused"):
            fault = f"{refused.get('field')} {refused.get('reason')}"
            text = f"Program terms from head office are not used: {fault}"
            yield Headline(
                Level.WARNING, f"{text}. The terms before stay; head office must mend them."
            )
        # While nothing can be delivered, the terms are not the news.
        is_cut_off = self._sync.get("state") in ("holding", "retrying")
        if not is_cut_off and (missed := _section(self._members, "termsNotFetched")):
            since = _time(missed.get("since"), "")
            text = f"were not fetched since {since}" if since else "were never fetched"
            yield Headline(Level.WARNING, f"Program terms {text}: {missed.get('reason')}.")
        yield from self._storage_notes()

    def problems(self) -> list[Headline]:
        """Return the headlines that somebody has to look into or act on, in order."""
        urgent = (Level.WARNING, Level.ALARM)
        return [headline for headline in self.headlines() if headline.level in urgent]

    def _losses(self) -> Iterator[Headline]:
        """Yield an alarm for the lost captures of each epoch, until head office accepts them."""
        for lost in _sections(self._members, "lost"):
            first, last = _number(lost, "firstSequence"), _number(lost, "lastSequence")
            count = _number(lost, "captures")
            if count is None and first is not None and last is not None:
                count = last - first + 1  # of an agent of an earlier version
            known = "some captures" if count is None else _captures(count)
            were = "was" if count == 1 else "were"
            text = f"{known} {were} lost" if lost.get("isCertain") else f"Up to {known} {were} lost"
            text = f"{text} ({lost.get('epoch')}/{first} to {last}: {lost.get('reason')})"
            if at := lost.get("acknowledgedAt"):
                text = f"{text}. Head office has accepted the loss: {_time(at, _UNKNOWN)}."
                yield Headline(Level.NOTE, text)
            else:
                yield Headline(Level.ALARM, f"{text}. For advice: loyalty-agent doctor")

    def _storage_notes(self) -> Iterator[Headline]:
        """Yield headlines on a new epoch, early purges, copies and quarantined databases."""
        if began := _section(self._members, "newEpoch"):
            text = f"A new epoch began on {_time(began.get('beganAt'), _UNKNOWN)}"
            yield Headline(Level.NOTE, f"{text}: {began.get('reason')}.")
        if early := _section(self._storage, "earlyPurge"):
            kept, usual = _days(early.get("keptDays")), _days(early.get("deliveredDays"))
            text = f"Delivered captures are kept {kept} {_unit(kept)} instead of {usual}"
            yield Headline(Level.WARNING, f"{text}: [storage] {early.get('limit')} is reached.")
        if rows := _number(self._storage, "damagedRows"):
            text = f"Damaged rows of the database were repaired: {rows:,}"
            yield Headline(Level.WARNING, f"{text}. For the reasons: loyalty-agent doctor")
        if copies := _copies(self._storage.get("copies")):
            text = "Copies made before an upgrade hold captures and their addresses"
            ending = "each is deleted once its captures are delivered"
            yield Headline(Level.NOTE, f"{text}: {', '.join(copies)}; {ending}.")
        if names := _names(self._storage.get("setAside")):
            salvage = self._salvage(_places(names))
            yield Headline(Level.WARNING, f"A damaged database was quarantined. {salvage}")

    def _salvage(self, places: str) -> str:
        """Return how far the quarantined databases in `places` are salvaged."""
        counts = _section(self._storage, "salvage")
        if not counts or _number(counts, "pending"):
            return f"Its undelivered captures are being salvaged: keep {places}."
        done = f"Captures salvaged: {_figure(_number(counts, 'salvaged'))}"
        if lost := _number(counts, "unreadable"):
            done = f"{done}; unreadable: {_figure(lost)}"
        kept = _names(self._storage.get("setAsideKept"))
        waiting = [name for name in _names(self._storage.get("setAside")) if name not in kept]
        if waiting:
            done = f"{done}. Its captures are being delivered: keep {_places(waiting)}"
        if kept:
            stays = f"The rest is delivered, and {_places(kept)} is not deleted by itself"
            return f"{done}. {stays}. For advice: loyalty-agent doctor"
        return f"{done}."

    def figures(self) -> dict[str, dict[str, str]]:
        """Return the figures by group and name."""
        members, storage, sync = self._members, self._storage, self._sync
        waiting = _number(members, "waiting")
        return {
            "Head office": {
                "Address": str(self._central.get("url") or "not set"),
                "Protocol": str(self._central.get("protocol") or _UNKNOWN),
                "Pending captures": _figure(waiting),
                "Oldest of them": _time(
                    members.get("oldestWaitingAt"), _UNKNOWN if waiting is None else "none"
                ),
                "Dead letters": _figure(_number(members, "deadLetters")),
                "Last delivery": _time(sync.get("lastDeliveryAt"), "none since the start"),
            },
            "Storage": {
                "Directory": str(storage.get("directory") or _UNKNOWN),
                "Database": _size(storage.get("databaseBytes")),
                "Free disk space": _size(storage.get("freeBytes")),
                "Last sequence number": _figure(_number(members, "lastSequence")),
                "Epoch": str(members.get("epoch") or _UNKNOWN),
            },
            "Agent": {
                "Till": str(members.get("tillId")),
                "Store": str(members.get("storeId")),
                "Version": str(members.get("version")),
                "Running since": _time(members.get("startedAt"), _UNKNOWN),
            },
        }

    def _recording(self) -> Headline:
        state, reason = str(self._storage.get("state")), self._storage.get("reason")
        text = _RECORDING.get(state, "It is unknown whether captures are recorded.")
        level = Level.OK if state == "ready" else Level.ALARM
        return Headline(level, f"{text} {reason}" if reason else text)

    def _delivery(self) -> Headline:
        state, waiting = str(self._sync.get("state")), _number(self._members, "waiting")
        if state in {"idle", "delivering"} and waiting == 0:
            if _number(self._members, "deadLetters"):
                return Headline(Level.OK, "No captures are pending.")
            return Headline(Level.OK, "All captures are delivered to head office.")
        level, text = _DELIVERY.get(state, _OTHER_DELIVERY)
        trouble = self._sync.get("trouble")
        if state == "retrying" and trouble not in _ENDS_BY_ITSELF:
            level, text = _FAILING if trouble else (Level.NOTE, _FAILING.text)
        pending = "unknown number of captures" if waiting is None else _captures(waiting)
        return Headline(
            level,
            text.format(
                state=state,
                cause=self._cause(),
                pending=pending,
                next_try=self._next_try(),
                name=" in ".join(self.title()),
                unset=self._unset(),
                join=HOW_TO_JOIN,
            ),
        )

    def _unset(self) -> str:
        till_id, store_id = self.title()
        url = self._central.get("url")
        return unset_for_delivery(store_id, till_id, url if isinstance(url, str) else "")

    def _cause(self) -> str:
        cause = self._sync.get("trouble") or "no reason given"
        detail = self._sync.get("detail")
        return f"{cause} ({detail})" if detail else str(cause)

    def _next_try(self) -> str:
        seconds = self._sync.get("nextTryInSeconds")
        if not isinstance(seconds, int | float):
            return ""
        return f"; next try in {math.ceil(seconds)} s"


def _section(members: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = members.get(name)
    return value if isinstance(value, Mapping) else {}


def _sections(members: Mapping[str, object], name: str) -> list[Mapping[str, object]]:
    value = members.get(name)
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _number(members: Mapping[str, object], name: str) -> int | None:
    value = members.get(name)
    return value if isinstance(value, int) else None


def _names(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []


def _copies(value: object) -> list[str]:
    """Return the names of copies with the date on which each was made."""
    members = _sections({"copies": value}, "copies")
    return [f"{one.get('name')} of {str(one.get('madeAt'))[:10]}" for one in members]


def _days(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else _UNKNOWN


def _places(names: Sequence[str]) -> str:
    return ", ".join(f"set-aside/{name}" for name in names)


def _unit(days: str) -> str:
    return "day" if days == "1" else "days"


def _captures(number: int) -> str:
    return "1 capture" if number == 1 else f"{number:,} captures"


def _figure(number: int | None) -> str:
    return _UNKNOWN if number is None else f"{number:,}"


def _time(value: object, otherwise: str) -> str:
    """Format `2026-01-01T00:00:00.000Z` as `2026-01-01 00:00:00 UTC`."""
    if not isinstance(value, str):
        return otherwise
    date, _, time = value.partition("T")
    return f"{date} {time[:8]} UTC"


def _size(value: object) -> str:
    if not isinstance(value, int):
        return _UNKNOWN
    if value < _GIB:
        return f"{value / 1024**2:,.1f} MiB"
    return f"{value / _GIB:,.1f} GiB"
