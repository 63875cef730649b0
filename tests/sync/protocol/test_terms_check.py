"""Bounds of program terms: texts, amounts, and the terms in the answer to a session."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.protocol.program_terms import ProgramTerms, SessionTerms, published
from sync.protocol.terms_check import (
    MAX_LIMIT,
    MAX_TEXT,
    TermsFault,
    find_fault,
    read_session_terms,
    text_fault,
)
from sync.runtime.settings.program import ProgramSettings
from tests.bench.peers.terms import SESSION_ANSWER

CONTROLS = [
    *(chr(code) for code in range(0x20) if chr(code) != "\n"),
    *(chr(code) for code in range(0x7F, 0xA0)),
    *"\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
]
DEFAULT = ProgramSettings().terms()


@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
def test_text_with_a_control_character_is_refused(control: str) -> None:
    assert text_fault(f"Join{control}", has_lines=True) == "contains a control character"


def test_receipt_of_several_lines_is_allowed_but_no_prompt_code_is() -> None:
    assert text_fault("Join\nus", has_lines=True) is None
    assert text_fault("Join\nus", has_lines=False) == "contains a control character"


@given(st.text(st.characters(categories=("L", "M", "N", "P", "S", "Zs")), max_size=MAX_TEXT))
def test_every_written_text_is_allowed_up_to_its_greatest_length(text: str) -> None:
    assert text_fault(text, has_lines=False) is None
    assert text_fault(text.ljust(MAX_TEXT + 1, "a"), has_lines=False) is not None


@pytest.mark.parametrize("value", [-1, -0.01, 1e300, 10**400, float("nan"), float("inf")])
def test_impossible_amount_is_refused_by_name(value: float) -> None:
    rules = msgspec.structs.replace(DEFAULT.rules, redeem_increment_points=value)
    fault = find_fault(msgspec.structs.replace(DEFAULT, rules=rules))
    assert fault == TermsFault("rules.redeemIncrementPoints", "is not between 0 and 10^15")


def test_amounts_at_the_bounds_are_allowed() -> None:
    names = DEFAULT.rules.__struct_fields__
    for bound in (0, int(MAX_LIMIT)):
        rules = type(DEFAULT.rules)(**dict.fromkeys(names, bound))
        assert find_fault(msgspec.structs.replace(DEFAULT, rules=rules)) is None


def test_configured_terms_are_within_the_bounds() -> None:
    assert find_fault(msgspec.json.decode(published(DEFAULT)[0], type=ProgramTerms)) is None


@pytest.mark.parametrize("name", ["prompt", "promptMessage", "redemptionRules"])
@pytest.mark.parametrize("absent", [True, False])
def test_answer_without_one_of_the_terms_has_none(name: str, *, absent: bool) -> None:
    rest = {key: value for key, value in SESSION_ANSWER.items() if key != name}
    assert read_session_terms(rest if absent else rest | {name: None}) is None


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"promptMessage": 7}, "promptMessage"),
        ({"receiptMessage": "\0"}, "receiptMessage"),
        ({"prompt": "a" * 2_001}, "prompt"),
        ({"redemptionRules": {}}, "redemptionRules"),
        ({"redemptionRules": {"currency": "CAD"}}, "redemptionRules"),
    ],
)
def test_unusable_answer_names_its_field(changed: dict[str, object], field: str) -> None:
    found = read_session_terms(SESSION_ANSWER | changed)
    assert isinstance(found, TermsFault)
    assert found.field == field


def test_usable_answer_has_its_terms() -> None:
    found = read_session_terms(SESSION_ANSWER)
    assert isinstance(found, SessionTerms)
    assert found.prompt == SESSION_ANSWER["prompt"]
