"""Answers to session starts: program terms rendered as the JSON of the reference page."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from agent.capture.central_terms import CentralAnswer
from sync.protocol.locales import Locale

# Placeholder for the correlation id; configured and learned texts never contain it.
_MARK = "\x00"
# Channels are free text from tills, so the number of learned answers needs a limit.
MOST_LEARNED = 64


@dataclass(frozen=True, slots=True)
class RedemptionRules:
    """Redemption limits; amounts in `ProgramTerms.currency`."""

    min_redeem_points: float
    min_redeem_amount: float
    max_redeem_points: float
    max_redeem_amount: float
    redeem_increment_points: float
    redeem_increment_amount: float


@dataclass(frozen=True, slots=True)
class Messages:
    """Texts that the till displays and prints, in one locale; each can be empty."""

    prompt: str
    anonymous_prompt: str
    receipt: str


@dataclass(frozen=True, slots=True)
class ProgramTerms:
    """Terms of the loyalty program. `messages` has an entry for every `Locale`."""

    locale: Locale
    currency: str
    prompt: str
    rules: RedemptionRules
    messages: Mapping[Locale, Messages]


@dataclass(frozen=True, slots=True)
class Asked:
    """The members of a session start that select its answer; `locale` is None if not given."""

    channel: str | None
    locale: Locale | None
    anonymous: bool


Frame = tuple[bytes, bytes]


class SessionAnswers:
    """Renders answers to session starts.

    Answers of one kind differ only in the correlation id, so the JSON before and after it is
    encoded once for each locale and prompt. An answer learned from central for the same kind
    of session takes precedence over the terms.
    """

    def __init__(self, terms: ProgramTerms) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._learned: dict[Asked, Frame] = {}
        self.adopt(terms)

    def answer(self, correlation_id: str, asked: Asked) -> bytes:
        """Return the answer as compact JSON (`reference/start-anonymous-session.txt`).

        Uses the program's locale if none was given; an anonymous session gets the prompt about
        points that the customer would have earned.
        """
        before, after = self._frame_for(asked)
        return before + self._encode(correlation_id) + after

    def adopt(self, terms: ProgramTerms) -> None:
        """Use `terms` from now on; discard the learned answers."""
        self._learned.clear()
        self._default_locale = terms.locale
        self._frames = {
            (locale, anonymous): _frame(_answer(terms, locale, anonymous=anonymous))
            for locale in Locale
            for anonymous in (False, True)
        }

    def learn(self, asked: Asked, answer: CentralAnswer) -> bool:
        """Use this answer of central for such sessions; return False if the limit is reached."""
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


# In the order of the reference page; None is replaced by the program terms.
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
