"""Properties of the rules of *start anonymous session*."""

import json
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.capture.refusals import INVALID_CORRELATION_ID, NOT_AN_OBJECT, Refusal, StringMember
from agent.capture.session_start import (
    MAX_CORRELATION_ID_CODE_POINTS,
    SessionStart,
    is_correlation_id,
    parse_session_start,
)
from sync.protocol.program_terms import Locale, first_valid_locale
from tests.support.json_strategies import almost_json, objects, spelled, texts, values

locales = st.lists(st.sampled_from(["", "fr-CA", "EN-us", "FR", "de-DE"]) | texts, max_size=3)
valid_ids = st.text(
    st.characters(exclude_categories=["Cc", "Cs"]),
    min_size=1,
    max_size=MAX_CORRELATION_ID_CODE_POINTS,
).filter(lambda text: text.strip() and text not in {".", ".."})


def outcome(body: bytes, query_locales: list[str]) -> SessionStart | str:
    try:
        return parse_session_start(body, query_locales)
    except Refusal as refusal:
        return str(refusal)


@given(almost_json | objects.flatmap(spelled), locales)
def test_any_body_is_accepted_or_refused_with_a_documented_message(
    body: bytes, query_locales: list[str]
) -> None:
    answer = outcome(body, query_locales)

    if isinstance(answer, str):
        assert answer in {NOT_AN_OBJECT, INVALID_CORRELATION_ID} or answer.startswith(
            tuple(StringMember)
        )
    else:
        assert answer.started.body == body


@given(valid_ids)
@example("x" * 128)
@example("\U0001f600" * 128)
@example("...")
@example("\u200b")
def test_text_without_control_characters_is_a_valid_id(text: str) -> None:
    assert is_correlation_id(text)


@given(st.text(), st.characters(categories=["Cc", "Cs"]), st.text())
def test_id_with_a_control_character_or_surrogate_is_invalid(
    before: str, spoiler: str, after: str
) -> None:
    assert not is_correlation_id(before + spoiler + after)


@given(st.text(st.characters(categories=["Zs"]), min_size=1))
def test_blank_id_is_invalid(blanks: str) -> None:
    assert not is_correlation_id(blanks)


@given(valid_ids, st.integers(1, 40))
def test_id_of_more_than_128_code_points_is_invalid(start: str, beyond: int) -> None:
    length = MAX_CORRELATION_ID_CODE_POINTS + beyond

    assert not is_correlation_id((start * length)[:length])


@given(values.filter(lambda value: not isinstance(value, str)))
def test_id_that_is_not_a_string_is_invalid(value: object) -> None:
    assert not is_correlation_id(value)


@pytest.mark.parametrize("code_point", [*range(0x20), *range(0x7F, 0xA0)])
def test_rejected_control_characters_are_those_of_unicode(code_point: int) -> None:
    assert unicodedata.category(chr(code_point)) == "Cc"
    assert not is_correlation_id(f"a{chr(code_point)}b")


@given(valid_ids, st.data())
def test_valid_id_is_kept_unchanged(correlation_id: str, data: st.DataObject) -> None:
    body = data.draw(spelled({"correlationId": correlation_id}))

    start = parse_session_start(body, [])

    assert start.started.correlation_id == correlation_id


def letter_cases(locale: Locale) -> st.SearchStrategy[str]:
    return st.tuples(*(st.sampled_from([c.lower(), c.upper()]) for c in locale)).map("".join)


unsupported = texts.filter(lambda text: text.lower() not in {"en-ca", "en-us", "fr-ca"}) | values
supported = st.sampled_from(Locale).flatmap(
    lambda locale: st.tuples(st.just(locale), letter_cases(locale))
)


@given(
    st.lists(unsupported.filter(lambda value: not isinstance(value, str) or len(value) != 5)),
    supported,
    st.lists(st.sampled_from(Locale) | values),
)
def test_first_supported_locale_wins_in_any_letter_case(
    before: list[object], wanted: tuple[Locale, str], after: list[object]
) -> None:
    locale, written = wanted

    assert first_valid_locale([*before, written, *after]) is locale


@given(
    st.lists(st.sampled_from(["EN", "FR", "en", "fr", "en_CA", "en-GB", "", " en-CA"]) | st.none())
)
def test_unsupported_locale_is_ignored(candidates: list[object]) -> None:
    assert first_valid_locale(candidates) is None


@given(supported, supported)
def test_locale_of_the_query_overrides_the_body(
    in_query: tuple[Locale, str], in_body: tuple[Locale, str]
) -> None:
    body = json.dumps({"correlationId": "x", "locale": in_body[1]}).encode()

    with_query = parse_session_start(body, [in_query[1]])
    without = parse_session_start(body, [])

    assert (with_query.kind.locale, with_query.started.query_locale) == (in_query[0], in_query[0])
    assert (without.kind.locale, without.started.query_locale) == (in_body[0], None)


@given(
    st.sampled_from(StringMember), values.filter(lambda value: not isinstance(value, str | None))
)
def test_known_member_that_is_not_a_string_is_named_in_the_message(
    field: StringMember, value: object
) -> None:
    body = json.dumps({"correlationId": "x", field: value}).encode()

    assert outcome(body, []) == f"{field} must be a string"


@given(st.sampled_from(StringMember), texts, texts)
def test_known_member_with_a_nul_is_named_in_the_message(
    field: StringMember, before: str, after: str
) -> None:
    body = json.dumps({"correlationId": "x", field: f"{before}\0{after}"}).encode()

    assert outcome(body, []) == f"{field} must not contain a NUL character"


@given(texts | st.none())
@example("closed")
@example("ClOsEd")
@example("CLOSED ")
def test_session_with_user_status_closed_is_closed(user_status: str | None) -> None:
    plain = None if user_status is None else user_status.replace("\0", "")
    body = json.dumps({"correlationId": "x", "userStatus": plain}).encode()

    start = parse_session_start(body, [])

    assert start.started.closed is (plain is not None and plain.upper() == "CLOSED")


@given(texts | st.none())
def test_non_empty_anonymous_session_id_selects_the_anonymous_prompt(given_: str | None) -> None:
    plain = None if given_ is None else given_.replace("\0", "")
    body = json.dumps({"correlationId": "x", "anonymousSessionId": plain}).encode()

    assert parse_session_start(body, []).kind.is_anonymous is bool(plain)
