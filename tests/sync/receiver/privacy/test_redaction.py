"""Redaction rules: matching, replacement, comparison of redacted bodies."""

import json
from typing import TypeAlias

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sync.receiver.privacy.redaction import MARK, Address, numbered_mark, same_body, same_text

GUEST = "guest.Ä+1@example.com"
ADDRESS = Address.parse(GUEST)
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

PLAIN = st.text(alphabet='aé\\"/{}[]:, \n\u2028😀', max_size=6)
TEXTS = st.builds(
    lambda before, parts: " ".join([before, *parts]),
    PLAIN,
    st.lists(st.one_of(PLAIN, st.sampled_from([GUEST, GUEST.upper(), GUEST.lower()])), max_size=3),
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
BODIES = st.builds(
    lambda value, is_ascii, indent: json.dumps(value, ensure_ascii=is_ascii, indent=indent),
    st.dictionaries(TEXTS, VALUES, max_size=4),
    st.booleans(),
    st.sampled_from([None, 2]),
)


def texts_in(value: Json) -> list[str]:
    match value:
        case str():
            return [value]
        case list():
            return [text for item in value for text in texts_in(item)]
        case dict():
            return [text for name, item in value.items() for text in [name, *texts_in(item)]]
        case _:
            return []


@given(body=BODIES)
def test_no_string_of_a_redacted_body_holds_the_address(body: str) -> None:
    clean = ADDRESS.redact_json(body)

    assert not any(ADDRESS.occurs_in(text) for text in texts_in(json.loads(clean)))


@given(body=BODIES)
def test_body_without_the_address_is_unchanged_byte_for_byte(body: str) -> None:
    other = Address.parse("somebody@example.org")

    assert other.redact_json(body) == body


@given(body=BODIES)
@example(body=json.dumps({GUEST: 1, GUEST.upper(): 2}))
def test_resent_body_equals_its_redacted_copy(body: str) -> None:
    assert same_body(body, ADDRESS.redact_json(body))


def test_distinct_member_names_stay_distinct_after_several_redactions() -> None:
    body = json.dumps({GUEST: 1, "else@example.com": {GUEST: 2}, "else2@example.com": 3})

    for address in (GUEST, "else@example.com", "else2@example.com"):
        body = Address.parse(address).redact_json(body)

    assert len(json.loads(body)) == 3


@given(body=BODIES)
def test_body_that_differs_elsewhere_is_not_equal(body: str) -> None:
    other = json.dumps({**json.loads(body), "new": 1})

    assert not same_body(other, ADDRESS.redact_json(body))


@pytest.mark.parametrize(
    "text",
    [
        "guest@example.com",
        "GUEST@Example.Com",
        "mailto:guest@example.com?subject=x",
        "<guest@example.com>",
        "'guest@example.com'",
        "to guest@example.com.",
        "?email=guest%40example.com",
        "{'mail':'guest@example.com'}",
    ],
)
def test_address_is_found_inside_other_text(text: str) -> None:
    assert Address.parse("guest@example.com").occurs_in(text)


@pytest.mark.parametrize(
    "text",
    [
        "my.guest@example.com",
        "a-guest@example.com",
        "my+guest@example.com",
        "éguest@example.com",
        "guest@example.com.au",
        "guest@example.company",
        "guest@example.com-pany.org",
        "guest@exampleXcom",
    ],
)
def test_similar_addresses_are_not_redacted(text: str) -> None:
    address = Address.parse("guest@example.com")

    assert not address.occurs_in(text)
    assert address.redact(text) == text


@pytest.mark.parametrize("spelled", ["é@example.com", "e\u0301@example.com", "É@example.com"])
def test_unicode_normalization_forms_are_equivalent(spelled: str) -> None:
    assert Address.parse("é@example.com").occurs_in(spelled)


def test_json_escapes_do_not_hide_the_address() -> None:
    body = r'{"note": "\u0067uest\u0040example.com", "as it was": 1.50}'

    clean = Address.parse("guest@example.com").redact_json(body)

    assert clean == f'{{"note": "{MARK}", "as it was": 1.50}}'


@pytest.mark.parametrize(
    "text", ["", " ", "guest", "@example.com", "guest@", "a@b\nc", "x" * 400 + "@b"]
)
def test_invalid_address_is_rejected_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected an e-mail address$"):
        Address.parse(text)


def test_distinct_correlation_ids_stay_distinct() -> None:
    one, other = numbered_mark("0" * 32), numbered_mark("1" * 32)

    assert one != other
    assert same_text("till-guest@example.com-7", f"till-{one}-7")
    assert not same_text("till--7", f"till-{one}-7")
    assert not same_text("till-guest@example.com-8", f"till-{one}-7")


@pytest.mark.parametrize(
    ("sent", "kept", "same"),
    [
        ("a", "a", True),
        (None, None, True),
        (None, MARK, False),
        ("xbyb", f"{MARK}b", True),
        ("b", f"{MARK}b", False),
        ("xbybz", f"x{MARK}y{MARK}z", True),
        ("xyz", f"x{MARK}y{MARK}z", False),
        ("1, 2 and 3", f"{MARK}, {MARK} and {MARK}", True),
    ],
)
def test_mark_stands_for_at_least_one_character(sent: str | None, kept: str, *, same: bool) -> None:
    assert same_text(sent, kept) is same


def test_comparison_with_many_marks_is_fast() -> None:
    """A till may send the mark itself, any number of times."""
    assert not same_text("a" * 16_000, f"{MARK}a" * 500 + "b")
