"""Reading a body as strict JSON, and taking a member out of one."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.capture.json_object import read_object, without_member
from agent.capture.refusals import NOT_AN_OBJECT, Refusal
from tests.agent.capture.strategies import almost_json, objects, spelled, texts


def refuse_constant(name: str) -> object:
    raise ValueError(name)


def by_the_standard_library(body: bytes) -> object:
    """Read as RFC 8259 says, without what Python adds: NaN, other encodings, lone surrogates."""
    document = json.loads(body.decode("utf-8"), parse_constant=refuse_constant)
    json.dumps(document, ensure_ascii=False).encode("utf-8")
    return document


@given(st.data())
def test_any_object_in_any_spelling_is_read_as_it_is(data: st.DataObject) -> None:
    members = data.draw(objects)

    assert read_object(data.draw(spelled(members))) == members


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
def test_what_is_no_object_to_the_standard_library_is_refused_and_the_rest_read(
    body: bytes,
) -> None:
    try:
        expected = by_the_standard_library(body)
    except ValueError:
        expected = None

    if isinstance(expected, dict):
        assert read_object(body) == expected
    else:
        with pytest.raises(Refusal, match=NOT_AN_OBJECT):
            read_object(body)


@given(st.integers(1, 3000), st.sampled_from([(b"[", b"]"), (b'{"":', b"}")]))
def test_depth_is_read_or_refused(depth: int, brackets: tuple[bytes, bytes]) -> None:
    opening, closing = brackets
    body = b'{"a":' + opening * depth + b"0" + closing * depth + b"}"

    try:
        members = read_object(body)
    except Refusal:
        members = {}

    assert members or depth > 800


@given(objects, texts, st.data())
def test_member_is_taken_out_and_the_others_stay(
    members: dict[str, object], name: str, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from([name, *members]))

    rest = json.loads(without_member(data.draw(spelled(members)), name))

    assert rest == {known: value for known, value in members.items() if known != name}
    assert list(rest) == [known for known in members if known != name]


@given(objects, texts)
def test_numbers_and_white_space_within_the_others_stay_letter_for_letter(
    members: dict[str, object], name: str
) -> None:
    odd = b'[ 1.0,\t1E+2, "\\u0041" , 0.10000000000000000000001 ]'
    body = json.dumps({f"_{name}": "secret"}).encode()[:-1] + b',"kept":' + odd + b"}"

    assert without_member(body, f"_{name}") == b'{"kept":' + odd + b"}"


@given(texts, st.lists(texts, min_size=2, max_size=4))
def test_member_given_several_times_is_taken_out_every_time(name: str, given_: list[str]) -> None:
    pairs = b",".join(f"{json.dumps(name)}:{json.dumps(value)}".encode() for value in given_)

    assert without_member(b"{" + pairs + b"}", name) == b"{}"
