"""Program terms: texts and redemption rules of the answers to session starts, per locale.

Head office publishes `ProgramTerms` (protocol `batch`). The loyalty API publishes none, but each
of its answers to a session contains `SessionTerms`, valid for that `SessionKind` (protocol
`replay`).
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import msgspec

# Rejects NUL.
_Text = Annotated[str, msgspec.Meta(pattern="^[^\x00]*$")]


class Locale(StrEnum):
    """Locales of a session (`docs/till-api.md`)."""

    EN_CA = "en-CA"
    EN_US = "en-US"
    FR_CA = "fr-CA"


_BY_LOWER_CASE = {locale.value.lower(): locale for locale in Locale}


class RedemptionLimits(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Limits of redeeming points; a whole number stays whole."""

    min_redeem_points: int | float
    min_redeem_amount: int | float
    max_redeem_points: int | float
    max_redeem_amount: int | float
    redeem_increment_points: int | float
    redeem_increment_amount: int | float


class RedemptionRules(RedemptionLimits, rename="camel", frozen=True, kw_only=True):
    """The limits with their currency, as in the answer to a session start."""

    currency: _Text


class Messages(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Texts that the till displays and prints in one locale; each can be empty."""

    prompt: str
    anonymous_prompt: str
    receipt: str


class ProgramTerms(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """`GET /sync/v1/program`, with an ETag: the terms for all sessions.

    `messages` is keyed by locale; an absent locale keeps the messages of the configuration.
    """

    locale: str
    currency: str
    prompt: str
    rules: RedemptionLimits
    messages: dict[str, Messages]


class SessionTerms(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The terms in the answer to a session start; its other members belong to one session."""

    prompt: _Text
    prompt_message: _Text
    receipt_message: _Text
    redemption_rules: RedemptionRules


@dataclass(frozen=True, slots=True)
class SessionKind:
    """The part of a session start that selects its terms; `locale` is None if not given."""

    channel: str | None
    locale: Locale | None
    is_anonymous: bool


def session_kind(members: Mapping[str, object], query_locale: str | None) -> SessionKind:
    """Return the kind of a session start with these members of its body."""
    channel = members.get("channel")
    return SessionKind(
        channel=channel if isinstance(channel, str) and channel else None,
        locale=first_valid_locale((query_locale, members.get("locale"))),
        is_anonymous=bool(members.get("anonymousSessionId")),
    )


def first_valid_locale(candidates: Iterable[object]) -> Locale | None:
    """Return the first candidate that is a supported locale, ignoring case.

    Any other value, `EN` and `FR` included, counts as absent and is not an error.
    """
    for candidate in candidates:
        if isinstance(candidate, str) and (found := _BY_LOWER_CASE.get(candidate.lower())):
            return found
    return None


def published(terms: ProgramTerms) -> tuple[bytes, str]:
    """Return the terms as JSON, and their ETag."""
    body = msgspec.json.encode(terms)
    return body, hashlib.sha256(body).hexdigest()[:32]
