"""Status on a terminal: headlines with advice first, then the figures."""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sync.runtime.cli.printing import one_line, print_values

_GIB = 1024**3
_NOT_KNOWN = "not known now"
_SERVED = "Tills are served: captures are taken and kept on this machine."
_WORDS = {
    "full": "TILLS ARE REFUSED: there is no room for captures.",
    "down": "TILLS ARE REFUSED: the storage does not work.",
}
_GOING_OUT = ("idle", "delivering")
_WAYS = {
    **dict.fromkeys(_GOING_OUT, ("green", "Captures go out to head office: {wait}.")),
    "capture only": ("yellow", "Captures are kept here and sent nowhere: central.url is not set."),
    "quiet hours": ("green", "In the quiet hours nothing is sent: {wait} for their end."),
    "retrying": ("yellow", "Head office is not reached: {why}. Until it is, {wait}{next_try}."),
    "holding": (
        "red",
        (
            "HEAD OFFICE REFUSES THIS MACHINE: {why}. Until somebody mends that, {wait}; what"
            " to do: loyalty-agent doctor"
        ),
    ),
}
_OTHER_WAY = ("yellow", "The way to head office: {state}; {wait}.")


class Headline(NamedTuple):
    """One sentence and its colour: green, yellow or red."""

    colour: str
    text: str


class Status:
    """Status document of an agent; any member may be missing, as versions differ."""

    def __init__(self, members: Mapping[str, object]) -> None:
        self.members = members
        self.storage = _part(members, "storage")
        self.central = _part(members, "central")
        self.sync = _part(members, "sync")

    @property
    def waiting(self) -> int | None:
        """Number of undelivered captures; None if unknown."""
        return _number(self.members, "waiting")

    @property
    def dead_letters(self) -> int:
        """Number of dead letters."""
        return _number(self.members, "deadLetters") or 0

    @property
    def set_aside(self) -> list[str]:
        """Names of the quarantined databases."""
        names = self.storage.get("setAside")
        return [str(name) for name in names] if isinstance(names, list) else []


def show_status(members: Mapping[str, object]) -> None:
    """Print the status on a terminal."""
    from rich.console import Console  # noqa: PLC0415 - slow to load, needed on a terminal only
    from rich.text import Text  # noqa: PLC0415 - as above

    status, console = Status(members), Console()
    for headline in headlines(status):
        # Rich wraps at word boundaries; with typer.echo the terminal would break within a word.
        console.print(Text(one_line(headline.text), style=f"bold {headline.colour}"))
    for title, values in _figures(status).items():
        print_values(f"\n{title}", values)


def headlines(status: Status) -> Iterator[Headline]:
    """Yield headlines on capture, delivery, dead letters and quarantined databases."""
    yield _serving(status)
    yield _delivering(status)
    if status.dead_letters:
        text = f"Head office refused {_count(status.dead_letters)} for good"
        yield Headline("yellow", f"{text}; which, and why: loyalty-agent dead-letters list")
    if status.set_aside:
        text = (
            "A damaged database was set aside. What it holds and was not delivered is in it alone"
        )
        yield Headline("yellow", f"{text}: keep {', '.join(status.set_aside)}.")


def _serving(status: Status) -> Headline:
    state = status.storage.get("state")
    if state == "ready":
        return Headline("green", _SERVED)
    words = _WORDS.get(str(state), "It is not known whether tills are served.")
    reason = status.storage.get("reason")
    return Headline("red", f"{words} {reason}" if reason else words)


def _delivering(status: Status) -> Headline:
    state = str(status.sync.get("state"))
    if state in _GOING_OUT and status.waiting == 0:
        return Headline("green", "Nothing waits for head office.")
    colour, words = _WAYS.get(state, _OTHER_WAY)
    return Headline(
        colour,
        words.format(
            state=state,
            why=_why(status.sync),
            wait=_waiting(status),
            next_try=_next_try(status.sync),
        ),
    )


def _figures(status: Status) -> dict[str, dict[str, object]]:
    members, storage, sync = status.members, status.storage, status.sync
    return {
        "Head office": {
            "address": status.central.get("url") or "not set",
            "protocol": status.central.get("protocol"),
            "waiting": _figure(status.waiting),
            "oldest of them": _moment(members.get("oldestWaitingAt"), "none"),
            "refused for good": _figure(_number(members, "deadLetters")),
            "last delivery": _moment(sync.get("lastDeliveryAt"), "none since the start"),
        },
        "Storage": {
            "directory": storage.get("directory"),
            "database": _size(storage.get("databaseBytes")),
            "free on the disk": _size(storage.get("freeBytes")),
            "last number": _figure(_number(members, "lastSequence")),
            "epoch": members.get("epoch") or _NOT_KNOWN,
        },
        "Agent": {
            "till": members.get("tillId"),
            "store": members.get("storeId"),
            "version": members.get("version"),
            "running since": _moment(members.get("startedAt"), _NOT_KNOWN),
        },
    }


def _waiting(status: Status) -> str:
    if status.waiting is None:
        return "an unknown number of captures waits"
    return f"{_count(status.waiting)} {'waits' if status.waiting == 1 else 'wait'}"


def _count(number: int) -> str:
    return "1 capture" if number == 1 else f"{number:,} captures"


def _why(sync: Mapping[str, object]) -> str:
    trouble, detail = sync.get("trouble") or "no reason given", sync.get("detail")
    return f"{trouble} ({detail})" if detail else str(trouble)


def _next_try(sync: Mapping[str, object]) -> str:
    seconds = sync.get("nextTryInSeconds")
    if not isinstance(seconds, int | float):
        return ""
    return f"; next try in {math.ceil(seconds)} s"


def _figure(number: int | None) -> str:
    return _NOT_KNOWN if number is None else f"{number:,}"


def _moment(value: object, nothing: str) -> str:
    """Format `2026-01-01T00:00:00.000Z` as `2026-01-01 00:00:00 UTC`."""
    if not isinstance(value, str):
        return nothing
    date, _, time = value.partition("T")
    return f"{date} {time[:8]} UTC"


def _size(value: object) -> str:
    if not isinstance(value, int):
        return _NOT_KNOWN
    if value < _GIB:
        return f"{value / 1024**2:,.1f} MiB"
    return f"{value / _GIB:,.1f} GiB"


def _part(members: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = members.get(name)
    return value if isinstance(value, Mapping) else {}


def _number(members: Mapping[str, object], name: str) -> int | None:
    value = members.get(name)
    return value if isinstance(value, int) else None
