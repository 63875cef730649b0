"""What a session start is answered, whatever the terms and the id."""

import json

from hypothesis import given
from hypothesis import strategies as st

from agent.capture.locales import Locale
from agent.capture.program import Messages, ProgramTerms, RedemptionRules, SessionAnswers
from tests.agent.capture.strategies import texts

amounts = st.integers(0, 10**15) | st.floats(0, 1e15)
messages = st.builds(Messages, texts, texts, texts)
terms_ = st.builds(
    ProgramTerms,
    locale=st.sampled_from(Locale),
    currency=texts,
    prompt=texts,
    rules=st.builds(RedemptionRules, *[amounts] * 6),
    messages=st.fixed_dictionaries(dict.fromkeys(Locale, messages)),
)
MEMBERS = [
    "loyaltyId",
    "membershipType",
    "status",
    "prompt",
    "isValid",
    "promptMessage",
    "receiptMessage",
    "pointsBalance",
    "userMaxRedeemDollars",
    "redemptionRules",
    "sessionCorrelationId",
    "receiptPreference",
]
RULES = [
    "minRedeemPoints",
    "minRedeemAmount",
    "maxRedeemPoints",
    "maxRedeemAmount",
    "redeemIncrementPoints",
    "redeemIncrementAmount",
    "currency",
]


@given(terms_, texts, st.sampled_from(Locale) | st.none(), st.data())
def test_answer_is_always_the_references_json_with_the_id_in_it(
    terms: ProgramTerms, correlation_id: str, locale: Locale | None, data: st.DataObject
) -> None:
    anonymous = data.draw(st.booleans())

    answer = json.loads(SessionAnswers(terms).answer(correlation_id, locale, anonymous=anonymous))

    spoken = terms.messages[locale or terms.locale]
    assert list(answer) == MEMBERS
    assert list(answer["redemptionRules"]) == RULES
    assert answer["sessionCorrelationId"] == correlation_id
    assert answer["promptMessage"] == (spoken.anonymous_prompt if anonymous else spoken.prompt)
    assert answer["receiptMessage"] == spoken.receipt
    assert (answer["prompt"], answer["redemptionRules"]["currency"]) == (
        terms.prompt,
        terms.currency,
    )


@given(terms_, texts)
def test_answer_is_compact_utf8_with_json_numbers(terms: ProgramTerms, correlation_id: str) -> None:
    body = SessionAnswers(terms).answer(correlation_id, None, anonymous=False)

    rules = json.loads(body)["redemptionRules"]
    limits = [rules[name] for name in RULES[:-1]]
    assert limits == [getattr(terms.rules, name) for name in RedemptionRules.__slots__]
    assert all(isinstance(limit, int | float) for limit in limits)
    assert body == _recompacted(body)


def _recompacted(body: bytes) -> bytes:
    """Take out all white space between the tokens of a JSON text."""
    text, out, within, position = body.decode(), [], False, 0
    while position < len(text):
        letter = text[position]
        if within and letter == "\\":
            out.append(text[position : position + 2])
            position += 2
            continue
        within ^= letter == '"'
        if within or not letter.isspace():
            out.append(letter)
        position += 1
    return "".join(out).encode()
