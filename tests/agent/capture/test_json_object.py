"""Parsing a body as strict JSON, and removing a member."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.capture.refusals import NOT_AN_OBJECT, Refusal, parse_object
from sync.protocol.json_object import MAX_DEPTH, without_members
from tests.support.json_strategies import almost_json, objects, spelled, texts


def refuse_constant(name: str) -> object:
    raise ValueError(name)


def by_the_standard_library(body: bytes) -> object:
    """Parse by RFC 8259, without Python's extensions: NaN, other encodings, lone surrogates."""
    document = json.loads(body.decode("utf-8"), parse_constant=refuse_constant)
    json.dumps(document, ensure_ascii=False).encode("utf-8")
    return document


@given(st.data())
def test_object_is_parsed_in_any_json_spelling(data: st.DataObject) -> None:
    members = data.draw(objects)

    assert parse_object(data.draw(spelled(members))) == members


@given(almost_json | objects.flatmap(spelled))
@example(b"")
@example(b'{"a":1} ')
@example(b'{"a":NaN}')
@example(b'\xef\xbb\xbf{"a":1}')
@example(b'{"a":"\\ud800"}')
@example(b'{"a":"\\ud83d\\ude00"}')
@example(b'{"a":01}')
@example(b'{"a":-0}')
@example(b'{"a":"\x7f"}')
@example(b'{"a":"\x1f"}')
@example(b"[]")
def test_parser_agrees_with_the_standard_library(
    body: bytes,
) -> None:
    try:
        expected = by_the_standard_library(body)
    except ValueError:
        expected = None

    if isinstance(expected, dict):
        assert parse_object(body) == expected
    else:
        with pytest.raises(Refusal, match=NOT_AN_OBJECT):
            parse_object(body)


@given(
    st.integers(1, 3000) | st.integers(MAX_DEPTH - 3, MAX_DEPTH + 3),
    st.sampled_from([(b"[", b"]"), (b'{"":', b"}")]),
)
def test_nesting_is_refused_beyond_a_depth_that_head_office_can_read(
    depth: int, brackets: tuple[bytes, bytes]
) -> None:
    opening, closing = brackets
    body = b'{"a":' + opening * depth + b"0" + closing * depth + b"}"

    try:
        members = parse_object(body)
    except Refusal:
        members = {}

    assert bool(members) == (1 + depth <= MAX_DEPTH)


@given(objects, texts, st.data())
def test_removing_a_member_keeps_the_others_in_order(
    members: dict[str, object], name: str, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from([name, *members]))

    rest = json.loads(without_members(data.draw(spelled(members)), name))

    assert rest == {known: value for known, value in members.items() if known != name}
    assert list(rest) == [known for known in members if known != name]


@given(objects, texts)
def test_removing_a_member_keeps_the_bytes_of_other_values(
    members: dict[str, object], name: str
) -> None:
    odd = b'[ 1.0,\t1E+2, "\\u0041" , 0.10000000000000000000001 ]'
    body = json.dumps({f"_{name}": "secret"}).encode()[:-1] + b',"kept":' + odd + b"}"

    assert without_members(body, f"_{name}") == b'{"kept":' + odd + b"}"


@given(texts, st.lists(texts, min_size=2, max_size=4))
def test_removing_a_member_removes_all_its_duplicates(name: str, given_: list[str]) -> None:
    pairs = b",".join(f"{json.dumps(name)}:{json.dumps(value)}".encode() for value in given_)

    assert without_members(b"{" + pairs + b"}", name) == b"{}"
