"""A till's request with its end, as the proxy sees it."""

import json
from dataclasses import dataclass
from enum import StrEnum

from agent.api.till_calls import correlation_id_in
from agent.sandbox.faults import Call, Fault

_SESSION_PATH = "/client/users/anonymous/sessions"
_EMAIL_START, _EMAIL_END = "/client/users/", "/profile/email"


class Ending(StrEnum):
    """Kinds of ends of an exchange."""

    ANSWERED = "answered"
    LEFT = "closed by the till"
    CUT = "closed by the sandbox"


@dataclass(slots=True, eq=False)
class Exchange:
    """A request and its end; times are seconds of a monotonic clock.

    `connection` numbers the till's connections. `ending` is None while the exchange is open.
    """

    connection: int
    method: str
    path: str
    body: bytes
    started: float
    fault: Fault | None = None
    status: int | None = None
    ended: float | None = None
    ending: Ending | None = None

    @property
    def call(self) -> Call:
        """The call that the request makes."""
        path = self.path.partition("?")[0]
        if self.method == "POST" and path == _SESSION_PATH:
            return Call.SESSION
        is_email = path.startswith(_EMAIL_START) and path.endswith(_EMAIL_END)
        return Call.EMAIL if self.method == "PUT" and is_email else Call.OTHER

    @property
    def correlation_id(self) -> str | None:
        """The session's id; None if the request has none."""
        if self.call is Call.EMAIL:
            return correlation_id_in(self.path.partition("?")[0], segment=3)
        try:
            members = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        found = members.get("correlationId") if isinstance(members, dict) else None
        return found if isinstance(found, str) else None

    def end(self, ending: Ending, at: float, status: int | None = None) -> None:
        """Record the end. Only the first call counts."""
        if self.ending is None:
            self.ending, self.ended, self.status = ending, at, status
