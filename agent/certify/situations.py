"""The twelve situations, and the limits within which a till has to move on."""

from dataclasses import dataclass

from agent.sandbox.faults import ALWAYS, Call, Fault, FaultKind

ANSWER_SECONDS = 5.0
# A connection that the till does not close is held this many times the limit, then cut.
_HOLD = 2
_SALE = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a sale.

    `answer_seconds`: the till has given an answer up. `attempts`: requests of one call in a sale.
    """

    answer_seconds: float = ANSWER_SECONDS
    attempts: int = 3

    @property
    def hold_seconds(self) -> float:
        """How long an unanswered connection is held."""
        return self.answer_seconds * _HOLD

    @property
    def sale_seconds(self) -> float:
        """How long a sale of a till's program may last, with its start."""
        return self.answer_seconds * _SALE

    @property
    def pause_seconds(self) -> float:
        """The shortest pause before a repeat that draws no advice."""
        return self.answer_seconds / 10


@dataclass(frozen=True, slots=True)
class Situation:
    """A situation at the till: what a person does, what goes wrong, what the till has to do.

    `times`: how many requests of `call` have the fault, 0 for all. `is_optional`: a till need not
    be able to do it.
    """

    key: str
    title: str
    instruction: str
    kind: FaultKind | None = None
    call: Call = Call.SESSION
    times: int = 1
    sales: int = 1
    needs_repeat: bool = True
    needs_email: bool = False
    is_optional: bool = False

    def fault(self, call: Call, earlier: int, limits: Limits) -> Fault | None:
        """Return the fault of a request after `earlier` ones of the same call."""
        is_meant = call is self.call and (self.times == ALWAYS or earlier < self.times)
        if self.kind is None or not is_meant:
            return None
        hold = limits.hold_seconds
        return Fault(self.kind, call, seconds=hold, held_seconds=hold)


_SALE_TEXT = "Make one sale; give the e-mail address guest@example.com if asked."
SITUATIONS = (
    Situation("sale", "A sale with an e-mail address", _SALE_TEXT, needs_email=True),
    Situation(
        "correction",
        "The customer corrects the address",
        "Make one sale; give guest@example.com, then correct it to other@example.com.",
        call=Call.EMAIL,
        is_optional=True,
    ),
    Situation("two-sales", "Two sales in a row", "Make two sales, one after the other.", sales=2),
    Situation("session-lost", "The session's answer is lost", _SALE_TEXT, FaultKind.LOST),
    Situation("email-lost", "The e-mail's answer is lost", _SALE_TEXT, FaultKind.LOST, Call.EMAIL),
    Situation("slow", "An answer comes too late", _SALE_TEXT, FaultKind.SLOW),
    Situation("silent", "No answer comes at all", _SALE_TEXT, FaultKind.SILENT, times=ALWAYS),
    Situation("unavailable", "One answer is a 503", _SALE_TEXT, FaultKind.UNAVAILABLE),
    Situation("full", "All answers are 507", _SALE_TEXT, FaultKind.FULL, times=ALWAYS),
    Situation("reset", "The connection is reset", _SALE_TEXT, FaultKind.RESET),
    Situation(
        "restart", "The agent restarts in the sale", _SALE_TEXT, FaultKind.RESTART, Call.EMAIL
    ),
    Situation(
        "refused",
        "The session is refused (400)",
        _SALE_TEXT,
        FaultKind.REFUSED,
        times=ALWAYS,
        needs_repeat=False,
    ),
)
