"""JSON equality: an equivalence relation, independent of formatting."""

import json
from decimal import Decimal

from hypothesis import example, given
from hypothesis import strategies as st

from sync.protocol.json_equality import json_equal
from tests.support.json_strategies import objects, shuffled, spelled, values


@given(st.data())
def test_formatting_and_member_order_are_ignored(data: st.DataObject) -> None:
    members = data.draw(objects)
    one = data.draw(spelled(members))
    other = data.draw(shuffled(members).flatmap(spelled))

    assert json_equal(one, other)
    assert json_equal(other, one)


def tagged(value: object) -> object:
    """Convert to a value with JSON's equality in Python: true is not 1, 1 is 1.0."""
    if isinstance(value, dict):
        return ("object", frozenset((name, tagged(member)) for name, member in value.items()))
    if isinstance(value, list):
        return ("list", tuple(map(tagged, value)))
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return (type(value).__name__, value)
    return ("number", Decimal(repr(value)))


pairs = st.tuples(values, values) | values.flatmap(lambda value: st.tuples(st.just(value), values))


@given(pairs)
@example((True, 1))
@example((False, 0))
@example((None, False))
@example((1, 1.0))
@example((0, -0.0))
@example(([1], [True]))
@example(({"a": 1}, {"a": 1, "b": None}))
@example(([], {}))
@example(("1", 1))
@example((2**63, float(2**63)))
@example((2**53 + 1, float(2**53)))
def test_bodies_are_equal_exactly_if_their_json_values_are(pair: tuple[object, object]) -> None:
    one, other = (json.dumps({"": value}).encode() for value in pair)

    assert json_equal(one, other) == (tagged(pair[0]) == tagged(pair[1]))


small = st.sampled_from(
    [b"1", b"1.0", b"10e-1", b"true", b'"1"', b"[1]", b"[1.0]", b"[true]", b"0"]
)


@given(small, small, small)
def test_equality_is_an_equivalence_relation(one: bytes, two: bytes, three: bytes) -> None:
    assert json_equal(one, one)
    assert json_equal(one, two) == json_equal(two, one)
    if json_equal(one, two) and json_equal(two, three):
        assert json_equal(one, three)


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_deep_nesting_raises_no_error(one: int, other: int) -> None:
    nested = [b"[" * depth + b"]" * depth for depth in (one + 1, other + 1)]

    assert json_equal(*nested) in {True, False}
    assert json_equal(nested[0], nested[0])


@given(st.sampled_from(["0e{}", "1e-{}", "1.0e-{}", "0.0E+{}"]), st.integers(0, 10**30))
def test_huge_exponent_raises_no_error(number: str, exponent: int) -> None:
    body = number.format(exponent).encode()

    assert json_equal(body, b" " + body) in {True, False}
