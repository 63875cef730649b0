"""What a session start is answered: the program terms, made into the page's JSON."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from agent.capture.locales import Locale


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


class SessionAnswers:
    """Writes the answer to a session start; only the correlation id differs from one to the next.

    So the JSON before and after it is made once for each locale and kind of prompt.
    """

    def __init__(self, terms: ProgramTerms) -> None:
        self._default_locale = terms.locale
        self._frames = {
            (locale, anonymous): _frame(terms, locale, anonymous=anonymous)
            for locale in Locale
            for anonymous in (False, True)
        }
        self._encode = msgspec.json.Encoder().encode

    def answer(self, correlation_id: str, locale: Locale | None, *, anonymous: bool) -> bytes:
        """Return the compact JSON of `reference/start-anonymous-session.txt`.

        Without a `locale` the program's own is taken; `anonymous` chooses the message
        about the points the customer would have earned.
        """
        before, after = self._frames[locale or self._default_locale, anonymous]
        return before + self._encode(correlation_id) + after


def _frame(terms: ProgramTerms, locale: Locale, *, anonymous: bool) -> tuple[bytes, bytes]:
    mark = "\x00"
    whole = msgspec.json.encode(_answer(terms, locale, anonymous=anonymous, correlation_id=mark))
    before, _, after = whole.rpartition(msgspec.json.encode(mark))
    return before, after


def _answer(
    terms: ProgramTerms, locale: Locale, *, anonymous: bool, correlation_id: str
) -> dict[str, object]:
    messages = terms.messages[locale]
    rules = terms.rules
    return {
        "loyaltyId": "anonymous",
        "membershipType": "N",
        "status": "NO_CARD",
        "prompt": terms.prompt,
        "isValid": True,
        "promptMessage": messages.anonymous_prompt if anonymous else messages.prompt,
        "receiptMessage": messages.receipt,
        "pointsBalance": 0,
        "userMaxRedeemDollars": 0,
        "redemptionRules": {
            "minRedeemPoints": rules.min_redeem_points,
            "minRedeemAmount": rules.min_redeem_amount,
            "maxRedeemPoints": rules.max_redeem_points,
            "maxRedeemAmount": rules.max_redeem_amount,
            "redeemIncrementPoints": rules.redeem_increment_points,
            "redeemIncrementAmount": rules.redeem_increment_amount,
            "currency": terms.currency,
        },
        "sessionCorrelationId": correlation_id,
        "receiptPreference": "UNKNOWN",
    }
