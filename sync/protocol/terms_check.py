"""Bounds of program terms: a till displays them, and a receipt printer obeys control characters.

Central is another party. Terms outside of the bounds are not used; the terms before stay.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from sync.protocol.program_terms import Locale, ProgramTerms, RedemptionLimits, SessionTerms

MAX_TEXT = 2_000
# Integers up to this are exact in the doubles of a JSON reader.
MAX_LIMIT = 10**15
# Controls (C0, DEL, C1), bidirectional controls, line separators, lone surrogates.
_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_LINE_FEED = "\n"
_LEAST_AND_MOST = (
    ("min_redeem_points", "max_redeem_points"),
    ("min_redeem_amount", "max_redeem_amount"),
)


@dataclass(frozen=True, slots=True)
class TermsFault:
    """The first field of some terms that is out of bounds; never quotes its content."""

    field: str
    reason: str

    def __str__(self) -> str:
        """Return both as one phrase."""
        return f"{self.field}: {self.reason}"


def find_fault(terms: ProgramTerms | SessionTerms) -> TermsFault | None:
    """Return the first fault of `terms`; None if they can be used."""
    faults = _program_faults(terms) if isinstance(terms, ProgramTerms) else _session_faults(terms)
    return next(faults, None)


def read_session_terms(answer: Mapping[str, object]) -> SessionTerms | TermsFault | None:
    """Return the terms in central's answer to a session start, or their fault.

    Returns None if one of them is absent: not every backend sends program terms.
    """
    if any(answer.get(name) is None for name in SessionTerms.__struct_encode_fields__):
        return None
    try:
        terms = msgspec.convert(answer, SessionTerms)
    except msgspec.ValidationError as error:
        return shape_fault(error)
    return find_fault(terms) or terms


def shape_fault(error: msgspec.ValidationError) -> TermsFault:
    """Return the fault of terms that do not decode: the path in `error` has our own names only."""
    path = str(error).rpartition("`$.")[2].rstrip("`") if "`$." in str(error) else "terms"
    return TermsFault(path, "is missing or has the wrong type")


def text_fault(text: str, *, has_lines: bool) -> str | None:
    """Return the fault of a text; None if it can be displayed and printed.

    `has_lines`: a line feed is allowed, as in a receipt of two lines.
    """
    if len(text) > MAX_TEXT:
        return f"has more than {MAX_TEXT:,} characters"
    if _CONTROL.search(text.replace(_LINE_FEED, "") if has_lines else text):
        return "contains a control character"
    return None


def order_faults(limits: object) -> Iterator[tuple[str, str]]:
    """Yield each maximum of `limits` that is below its minimum, with the name of the minimum.

    A maximum of 0 is none: it means that nothing can be redeemed.
    """
    for least, most in _LEAST_AND_MOST:
        if 0 < getattr(limits, most) < getattr(limits, least):
            yield least, most


def _program_faults(terms: ProgramTerms) -> Iterator[TermsFault]:
    if terms.locale not in set(Locale):
        yield TermsFault("locale", "is not supported")
    yield from _text("prompt", terms.prompt)
    yield from _text("currency", terms.currency)
    yield from _limits("rules", terms.rules)
    for locale in Locale:
        if (messages := terms.messages.get(locale)) is not None:
            for name in messages.__struct_fields__:
                field = f"messages.{locale}.{_camel(name)}"
                yield from _text(field, getattr(messages, name), has_lines=True)


def _session_faults(terms: SessionTerms) -> Iterator[TermsFault]:
    yield from _text("prompt", terms.prompt)
    yield from _text("promptMessage", terms.prompt_message, has_lines=True)
    yield from _text("receiptMessage", terms.receipt_message, has_lines=True)
    yield from _text("redemptionRules.currency", terms.redemption_rules.currency)
    yield from _limits("redemptionRules", terms.redemption_rules)


def _text(field: str, text: str, *, has_lines: bool = False) -> Iterator[TermsFault]:
    if reason := text_fault(text, has_lines=has_lines):
        yield TermsFault(field, reason)


def _limits(section: str, limits: RedemptionLimits) -> Iterator[TermsFault]:
    for name in RedemptionLimits.__struct_fields__:
        value = getattr(limits, name)
        # NaN is refused too: a comparison with it is false.
        if not 0 <= value <= MAX_LIMIT:
            yield TermsFault(f"{section}.{_camel(name)}", "is not between 0 and 10^15")
    for least, most in order_faults(limits):
        yield TermsFault(f"{section}.{_camel(least)}", f"is more than {_camel(most)}")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)
