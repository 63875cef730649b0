"""The twelve situations, and the limits of a sale in them."""

from dataclasses import dataclass

from agent.sandbox.faults import ALWAYS, Call, Fault, FaultKind

ANSWER_SECONDS = 5.0
# In answer limits: until a connection that the till keeps is cut, and until a sale is stopped.
_HOLD, _SALE = 2, 8


@dataclass(frozen=True, slots=True)
class SaleLimits:
    """Limits of a sale.

    `answer_seconds`: the longest wait for an answer. `attempts`: the most requests of one call.
    """

    answer_seconds: float = ANSWER_SECONDS
    attempts: int = 3

    @property
    def hold_seconds(self) -> float:
        """Seconds until an unanswered connection is cut."""
        return self.answer_seconds * _HOLD

    @property
    def sale_seconds(self) -> float:
        """The longest run of a till's program for one sale."""
        return self.answer_seconds * _SALE

    @property
    def pause_seconds(self) -> float:
        """The shortest pause before a repeat that draws no advice."""
        return self.answer_seconds / 10


@dataclass(frozen=True, slots=True)
class Situation:
    """A situation at the till: an instruction for a person, a fault, and the expected behaviour.

    `times`: number of requests of `call` that get the fault, 0 for all. `is_optional`: a till may
    be unable to play it.
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

    def fault(self, call: Call, earlier: int, limits: SaleLimits) -> Fault | None:
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
