"""Answer to a session start, rendered from the program terms."""

from typing import Literal

import msgspec

from sync.protocol.json_object import encode_ascii
from sync.protocol.program_terms import (
    Locale,
    ProgramTerms,
    RedemptionRules,
    SessionKind,
    SessionTerms,
)

# Placeholder for the correlation id; it is not valid as one.
_PLACEHOLDER = "\x00"
# Channels are free text from tills, so the number of learned answers needs a limit.
MAX_LEARNED = 64


class SessionAnswer(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """JSON of the answer, in the documented order (`docs/till-api.md`)."""

    loyalty_id: Literal["anonymous"]
    membership_type: Literal["N"]
    status: str
    prompt: str
    is_valid: bool
    prompt_message: str
    receipt_message: str
    points_balance: int | float
    user_max_redeem_dollars: int | float
    redemption_rules: RedemptionRules
    session_correlation_id: str
    receipt_preference: str


Frame = tuple[bytes, bytes]


class SessionAnswers:
    """Renders answers to session starts.

    Answers of one kind differ only in the correlation id, so the JSON before and after it is
    encoded once for each locale and prompt. An answer learned from central for the same kind
    of session takes precedence over the program terms. `configured` has messages in every locale.
    """

    def __init__(self, configured: ProgramTerms) -> None:
        self._configured = configured
        self._learned: dict[SessionKind, Frame] = {}
        self.adopt(configured)

    def answer(self, correlation_id: str, kind: SessionKind) -> bytes:
        """Return the answer as compact JSON in ASCII.

        Uses the program's locale if none was given; an anonymous session gets the prompt about
        points that the customer would have earned.
        """
        before, after = self._frame_for(kind)
        return before + encode_ascii(correlation_id) + after

    def adopt(self, terms: ProgramTerms) -> None:
        """Use `terms` from now on; discard the learned answers.

        Raises `ValueError` if the locale of `terms` is not supported.
        """
        self._default_locale = Locale(terms.locale)
        self._learned.clear()
        self._frames = {
            (locale, anonymous): _frame(self._session_terms(terms, locale, anonymous=anonymous))
            for locale in Locale
            for anonymous in (False, True)
        }

    def learn(self, kind: SessionKind, terms: SessionTerms) -> bool:
        """Use these terms of central for such sessions; return False if the limit is reached."""
        if kind not in self._learned and len(self._learned) >= MAX_LEARNED:
            return False
        self._learned[kind] = _frame(terms)
        return True

    def _frame_for(self, kind: SessionKind) -> Frame:
        if self._learned and (learned := self._learned.get(kind)):
            return learned
        return self._frames[kind.locale or self._default_locale, kind.is_anonymous]

    def _session_terms(
        self, terms: ProgramTerms, locale: Locale, *, anonymous: bool
    ) -> SessionTerms:
        messages = terms.messages.get(locale) or self._configured.messages[locale]
        limits = msgspec.structs.asdict(terms.rules)
        return SessionTerms(
            prompt=terms.prompt,
            prompt_message=messages.anonymous_prompt if anonymous else messages.prompt,
            receipt_message=messages.receipt,
            redemption_rules=RedemptionRules(**limits, currency=terms.currency),
        )


def _frame(terms: SessionTerms) -> Frame:
    answer = SessionAnswer(
        loyalty_id="anonymous",
        membership_type="N",
        status="NO_CARD",
        prompt=terms.prompt,
        is_valid=True,
        prompt_message=terms.prompt_message,
        receipt_message=terms.receipt_message,
        points_balance=0,
        user_max_redeem_dollars=0,
        redemption_rules=terms.redemption_rules,
        session_correlation_id=_PLACEHOLDER,
        receipt_preference="UNKNOWN",
    )
    before, _, after = encode_ascii(answer).rpartition(encode_ascii(_PLACEHOLDER))
    return before, after
