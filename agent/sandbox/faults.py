"""Faults of the sandbox, and the plan of faults that a person or a program makes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

SLOW_SECONDS = 8.0
MAX_SECONDS = 3_600.0
ALWAYS = 0
_TIMES = re.compile(r"x([0-9]{1,4})", re.ASCII)
_MEMBERS = frozenset({"kind", "call", "seconds", "times"})


class Call(StrEnum):
    """A till's call; `OTHER` is any other request."""

    SESSION = "session"
    EMAIL = "email"
    OTHER = "other"


class FaultKind(StrEnum):
    """Misbehaviour of the sandbox at one request."""

    SLOW = "slow"
    SILENT = "silent"
    LOST = "lost"
    HALF = "half"
    RESET = "reset"
    RESTART = "restart"
    REFUSED = "400"
    UNAVAILABLE = "503"
    FULL = "507"


EXPLAINED: Mapping[FaultKind, str] = {
    FaultKind.SLOW: "recorded; the answer comes late, after SECONDS",
    FaultKind.SILENT: "not recorded; no answer comes",
    FaultKind.LOST: "recorded; the connection is closed without an answer",
    FaultKind.HALF: "recorded; the connection is closed after half of the answer",
    FaultKind.RESET: "not recorded; the connection is reset",
    FaultKind.RESTART: "recorded; the agent is killed and starts again",
    FaultKind.REFUSED: "not recorded; the answer is an error 400",
    FaultKind.UNAVAILABLE: "not recorded; the answer is an error 503 with Retry-After",
    FaultKind.FULL: "not recorded; the answer is an error 507",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault at the next `times` requests of `call` (None: of both); 0 times: at each one.

    `seconds` delay a slow answer; a silent connection is closed after `held_seconds`, if at all.
    """

    kind: FaultKind
    call: Call | None = None
    seconds: float = SLOW_SECONDS
    times: int = 1
    held_seconds: float | None = None

    def __str__(self) -> str:
        """Return the words that `parse_words` reads."""
        words = [self.kind.value]
        words += [f"{self.seconds:g}"] if self.kind is FaultKind.SLOW else []
        words += [self.call.value] if self.call else []
        words += ["always"] if self.times == ALWAYS else [f"x{self.times}"]
        return " ".join(words)


class FaultSyntaxError(Exception):
    """No such fault; the message names those that exist."""


class FaultPlan:
    """Queue of pending faults."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []

    @property
    def pending(self) -> tuple[Fault, ...]:
        """The pending faults, the next one first."""
        return tuple(self._pending)

    def add(self, fault: Fault) -> None:
        """Append a fault."""
        self._pending.append(fault)

    def clear(self) -> None:
        """Remove all pending faults."""
        self._pending.clear()

    def take(self, call: Call) -> Fault | None:
        """Return the fault of a request, and count it; None if the request gets none."""
        if call is Call.OTHER:
            return None
        for index, fault in enumerate(self._pending):
            if fault.call in {None, call}:
                self._count(index, fault)
                return fault
        return None

    def _count(self, index: int, fault: Fault) -> None:
        if fault.times == 1:
            del self._pending[index]
        elif fault.times != ALWAYS:
            self._pending[index] = replace(fault, times=fault.times - 1)


def parse_words(text: str) -> Fault:
    """Return the fault of a line such as `slow 8 email x2`. Raises `FaultSyntaxError`."""
    kind, *words = text.lower().split()
    members: dict[str, object] = {"kind": kind}
    for word in words:
        if word in {Call.SESSION, Call.EMAIL}:
            members["call"] = word
        elif word == "always":
            members["times"] = ALWAYS
        elif found := _TIMES.fullmatch(word):
            members["times"] = int(found[1])
        else:
            members["seconds"] = _number(word)
    return parse_members(members)


def parse_members(members: object) -> Fault:
    """Return the fault that a JSON object describes. Raises `FaultSyntaxError`."""
    if not isinstance(members, dict):
        raise FaultSyntaxError('expected an object such as {"kind": "lost"}')
    if unknown := sorted(map(str, members.keys() - _MEMBERS)):
        raise FaultSyntaxError(f"no member {unknown[0]}: use {', '.join(sorted(_MEMBERS))}")
    if "kind" not in members:
        raise FaultSyntaxError(f"kind is missing: use {', '.join(FaultKind)}")
    kind = str(members["kind"])
    if kind not in [*FaultKind]:
        raise FaultSyntaxError(f"no fault {kind}: use {', '.join(FaultKind)}")
    call = members.get("call")
    if call not in (None, "session", "email"):
        raise FaultSyntaxError("call is session or email")
    seconds, times = members.get("seconds", SLOW_SECONDS), members.get("times", 1)
    if type(seconds) not in {int, float} or not 0 < seconds <= MAX_SECONDS:
        raise FaultSyntaxError(f"seconds is a number above 0, up to {MAX_SECONDS:g}")
    if type(times) is not int or not 0 <= times <= 9_999:  # noqa: PLR2004 - as in `_TIMES`
        raise FaultSyntaxError("times is a whole number; 0: until the faults are cleared")
    return Fault(FaultKind(kind), Call(call) if call else None, float(seconds), times)


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        known = "a number of seconds, session, email, xN or always"
        raise FaultSyntaxError(f"{word!r} is none of: {known}") from None
