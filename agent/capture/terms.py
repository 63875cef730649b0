"""What a session start is answered: the program terms, made into the page's JSON."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from agent.capture.central_terms import CentralAnswer
from sync.protocol.locales import Locale

# Stands in a frame where the correlation id goes; no text that is configured or learned has it.
_MARK = "\x00"
# The channel is the till's own word: what is learned by it has a bound.
MOST_LEARNED = 64


@dataclass(frozen=True, slots=True)
class RedemptionRules:
    """The limits of redeeming points; amounts in `ProgramTerms.currency`."""

    min_redeem_points: float
    min_redeem_amount: float
    max_redeem_points: float
    max_redeem_amount: float
    redeem_increment_points: float
    redeem_increment_amount: float


@dataclass(frozen=True, slots=True)
class Messages:
    """What the till shows and prints, in one locale; each can be empty."""

    prompt: str
    anonymous_prompt: str
    receipt: str


@dataclass(frozen=True, slots=True)
class ProgramTerms:
    """The loyalty program as a till is told of it. `messages` has every `Locale`."""

    locale: Locale
    currency: str
    prompt: str
    rules: RedemptionRules
    messages: Mapping[Locale, Messages]


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a session start its answer depends on; `locale` is None where none was named."""

    channel: str | None
    locale: Locale | None
    anonymous: bool


Frame = tuple[bytes, bytes]


class SessionAnswers:
    """Writes the answer to a session start; only the correlation id differs from one to the next.

    So the JSON before and after it is made once for each locale and kind of prompt. What
    central itself answered to such a session goes before the terms.
    """

    def __init__(self, terms: ProgramTerms) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._learned: dict[Asked, Frame] = {}
        self.adopt(terms)

    def answer(self, correlation_id: str, asked: Asked) -> bytes:
        """Return the compact JSON of `reference/start-anonymous-session.txt`.

        Without a locale the program's own is taken; an anonymous one is told about the
        points the customer would have earned.
        """
        before, after = self._frame_for(asked)
        return before + self._encode(correlation_id) + after

    def adopt(self, terms: ProgramTerms) -> None:
        """Answer by `terms` from now on: what was learned before counts no more."""
        self._learned.clear()
        self._default_locale = terms.locale
        self._frames = {
            (locale, anonymous): _frame(_answer(terms, locale, anonymous=anonymous))
            for locale in Locale
            for anonymous in (False, True)
        }

    def learn(self, asked: Asked, answer: CentralAnswer) -> bool:
        """Answer such a session from now on as central did; False for one kind too many."""
        if asked not in self._learned and len(self._learned) >= MOST_LEARNED:
            return False
        self._learned[asked] = _frame({**_ALWAYS_THE_SAME, **msgspec.to_builtins(answer)})
        return True

    def _frame_for(self, asked: Asked) -> Frame:
        if self._learned and (learned := self._learned.get(asked)):
            return learned
        return self._frames[asked.locale or self._default_locale, asked.anonymous]


def _frame(answer: dict[str, object]) -> Frame:
    before, _, after = msgspec.json.encode(answer).rpartition(msgspec.json.encode(_MARK))
    return before, after


# In the page's order; the terms of the program take the place of None.
_ALWAYS_THE_SAME: Mapping[str, object] = {
    "loyaltyId": "anonymous",
    "membershipType": "N",
    "status": "NO_CARD",
    "prompt": None,
    "isValid": True,
    "promptMessage": None,
    "receiptMessage": None,
    "pointsBalance": 0,
    "userMaxRedeemDollars": 0,
    "redemptionRules": None,
    "sessionCorrelationId": _MARK,
    "receiptPreference": "UNKNOWN",
}


def _answer(terms: ProgramTerms, locale: Locale, *, anonymous: bool) -> dict[str, object]:
    messages = terms.messages[locale]
    rules = terms.rules
    return {
        **_ALWAYS_THE_SAME,
        "prompt": terms.prompt,
        "promptMessage": messages.anonymous_prompt if anonymous else messages.prompt,
        "receiptMessage": messages.receipt,
        "redemptionRules": {
            "minRedeemPoints": rules.min_redeem_points,
            "minRedeemAmount": rules.min_redeem_amount,
            "maxRedeemPoints": rules.max_redeem_points,
            "maxRedeemAmount": rules.max_redeem_amount,
            "redeemIncrementPoints": rules.redeem_increment_points,
            "redeemIncrementAmount": rules.redeem_increment_amount,
            "currency": terms.currency,
        },
    }
