"""What can become of a try to deliver, as values."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Delivered:
    """Central has it. `assumed`: it said "already" right after a try whose outcome is unknown."""

    assumed: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Central refuses this record for good: a dead letter. `http_status` where there was one."""

    error_code: str
    error_message: str
    http_status: int | None


class HoldReason(StrEnum):
    """Why central takes nothing from this agent at all, until somebody mends it."""

    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "endpoint not found"
    UNKNOWN_PROTOCOL = "unknown protocol"
    CREDENTIALS = "credentials not usable"


@dataclass(frozen=True, slots=True)
class Hold:
    """The caller and not a record is refused: the queue is kept, and an alarm is raised."""

    reason: HoldReason
    detail: str
    http_status: int | None = None


class Trouble(StrEnum):
    """Why it has to be tried again later.

    The first three tell whose fault it is that nothing was sent: with `NO_LINE` the store's own
    line is down, with `AWAY` central's machine, or one in front of it, turned the connection
    away, and `NO_CONNECTION` can be either.
    """

    NO_LINE = "no line"
    NO_CONNECTION = "no connection"
    AWAY = "head office is away"
    CLOCK = "clock wrong"
    TLS = "no trust in the certificate"
    NO_TOKEN = "no token from the token endpoint"  # noqa: S105 - says that there is none
    NO_ANSWER = "no answer"
    BUSY = "head office is busy"
    FAILED = "head office failed"
    NOT_CENTRAL = "the answer is not central's"
    NO_PROGRESS = "no progress"


_NOTHING_SENT = frozenset(
    {
        Trouble.NO_LINE,
        Trouble.NO_CONNECTION,
        Trouble.AWAY,
        Trouble.CLOCK,
        Trouble.TLS,
        Trouble.NO_TOKEN,
    }
)


@dataclass(frozen=True, slots=True)
class TryLater:
    """Neither yes nor no."""

    trouble: Trouble
    detail: str
    retry_after_seconds: float | None = None
    http_status: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether central may have taken what was sent; else it cannot have reached it."""
        return self.trouble not in _NOTHING_SENT


@dataclass(frozen=True, slots=True)
class GoBack:
    """Central lacks what comes before: it expects `expected_sequence` of the epoch next."""

    expected_sequence: int


@dataclass(frozen=True, slots=True)
class Renumber:
    """Central knows other events under these numbers.

    What follows `after_sequence`, the last number that both know alike, belongs into a new
    epoch.
    """

    after_sequence: int


Verdict = Delivered | Refused
Stop = Hold | TryLater | GoBack | Renumber
