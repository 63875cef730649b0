"""Answers to session starts, for arbitrary terms and ids."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agent.capture.session_answer import MAX_LEARNED, SessionAnswers
from sync.protocol.program_terms import (
    Locale,
    Messages,
    ProgramTerms,
    RedemptionLimits,
    SessionKind,
    SessionTerms,
)
from tests.support.json_strategies import texts

amounts = st.integers(0, 10**15) | st.floats(0, 1e15)
messages = st.builds(Messages, prompt=texts, anonymous_prompt=texts, receipt=texts)
LIMITS = RedemptionLimits.__struct_fields__
terms_ = st.builds(
    ProgramTerms,
    locale=st.sampled_from(Locale).map(str),
    currency=texts,
    prompt=texts,
    rules=st.builds(RedemptionLimits, **dict.fromkeys(LIMITS, amounts)),
    messages=st.fixed_dictionaries({locale.value: messages for locale in Locale}),
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

CENTRAL_SAID: dict[str, object] = {
    "loyaltyId": "anonymous",
    "membershipType": "N",
    "status": "NO_CARD",
    "prompt": "REQUEST_EMAIL",
    "isValid": True,
    "promptMessage": "Hello?",
    "receiptMessage": "Join us",
    "pointsBalance": 0,
    "userMaxRedeemDollars": 0,
    "redemptionRules": dict.fromkeys(RULES, 25) | {"currency": "CAD"},
    "sessionCorrelationId": "central's",
    "receiptPreference": "UNKNOWN",
}
TERMS = ProgramTerms(
    locale="en-CA",
    currency="CAD",
    prompt="",
    rules=RedemptionLimits(**dict.fromkeys(LIMITS, 1.0)),
    messages=dict.fromkeys(Locale, Messages(prompt="", anonymous_prompt="", receipt="")),
)


@given(terms_, texts, st.sampled_from(Locale) | st.none(), st.data())
def test_answer_has_the_members_of_the_reference_and_the_id(
    terms: ProgramTerms, correlation_id: str, locale: Locale | None, data: st.DataObject
) -> None:
    anonymous = data.draw(st.booleans())

    answer = json.loads(
        SessionAnswers(terms).answer(correlation_id, SessionKind(None, locale, anonymous))
    )

    texts_ = terms.messages[locale or terms.locale]
    assert list(answer) == MEMBERS
    assert list(answer["redemptionRules"]) == RULES
    assert answer["sessionCorrelationId"] == correlation_id
    assert answer["promptMessage"] == (texts_.anonymous_prompt if anonymous else texts_.prompt)
    assert answer["receiptMessage"] == texts_.receipt
    assert (answer["prompt"], answer["redemptionRules"]["currency"]) == (
        terms.prompt,
        terms.currency,
    )


@given(terms_, texts)
def test_answer_is_compact_utf8_with_json_numbers(terms: ProgramTerms, correlation_id: str) -> None:
    body = SessionAnswers(terms).answer(correlation_id, SessionKind(None, None, is_anonymous=False))

    rules = json.loads(body)["redemptionRules"]
    limits = [rules[name] for name in RULES[:-1]]
    assert limits == [getattr(terms.rules, name) for name in LIMITS]
    assert all(isinstance(limit, int | float) for limit in limits)
    assert body == _recompacted(body)


@given(terms_, texts)
def test_learned_answer_is_used_for_the_same_kind_of_session(
    terms: ProgramTerms, correlation_id: str
) -> None:
    answers = SessionAnswers(terms)
    kind = SessionKind("STORE", Locale.FR_CA, is_anonymous=False)
    answered = CENTRAL_SAID | {
        "sessionCorrelationId": "another",
        "promptMessage": "Bonjour?",
    }
    a_session_s_own = {"unknown": 1, "pointsBalance": 70, "userMaxRedeemDollars": 7}
    learned = msgspec.convert(answered | a_session_s_own, SessionTerms)

    answers.learn(kind, learned)

    assert json.loads(answers.answer(correlation_id, kind)) == answered | {
        "sessionCorrelationId": correlation_id
    }
    others = [
        SessionKind("WEB", Locale.FR_CA, is_anonymous=False),
        SessionKind("STORE", None, is_anonymous=True),
    ]
    unlearned = SessionAnswers(terms)
    for other in others:
        assert answers.answer(correlation_id, other) == unlearned.answer(correlation_id, other)


def test_number_of_learned_answers_is_bounded() -> None:
    answers = SessionAnswers(TERMS)
    learned = msgspec.convert(CENTRAL_SAID, SessionTerms)

    for number in range(MAX_LEARNED + 1):
        answers.learn(SessionKind(str(number), None, is_anonymous=False), learned)

    beyond = SessionKind(str(MAX_LEARNED), None, is_anonymous=False)
    assert answers.answer("id", beyond) == SessionAnswers(TERMS).answer("id", beyond)


def _recompacted(body: bytes) -> bytes:
    """Remove all white space between the tokens of a JSON text."""
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
