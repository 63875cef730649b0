"""Digests of content: equal for equal events, the same after an address was redacted."""

import json
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.receiver.ingest.deduplication.digest import digest_of
from sync.receiver.ingest.deduplication.equality import is_same_event
from sync.receiver.ingest.events import AnswerEvent, SessionEvent
from sync.receiver.privacy.redaction import Address
from tests.support.json_strategies import objects, shuffled, spelled
from tests.sync.receiver.ingest.event_builders import AT, answer, session

GUEST = "guest@example.com"
# Texts in which an address stands in some form, beside all others.
TEXTS_WITH_ADDRESS = st.sampled_from(
    [GUEST, f"<{GUEST.upper()}>", "of guest%40example.com", f"{GUEST},other@example.com"]
)
BODIES = st.tuples(objects, st.dictionaries(TEXTS_WITH_ADDRESS, TEXTS_WITH_ADDRESS)).map(
    lambda parts: parts[0] | parts[1] | {"list": list(parts[1])}
)


def answer_with(body: bytes, **changes: object) -> AnswerEvent:
    """Return an answer with this body."""
    return msgspec.structs.replace(answer(1, "a"), body=body.decode(), **changes)


@given(BODIES.flatmap(lambda body: st.tuples(*[shuffled(body).flatmap(spelled)] * 2)))
def test_equal_events_have_equal_digests_however_they_are_spelled(
    bodies: tuple[bytes, bytes],
) -> None:
    one, other = map(answer_with, bodies)

    assert is_same_event(one, other)
    assert digest_of(one) == digest_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "1.0"),
        ("1", "1E0"),
        ("1200", "12e2"),
        ("0", "-0.0"),
        ("0", "0E5"),
        ("-0.50", "-5E-1"),
        ("1E400", "1" + "0" * 400),
        ('{"a":1,"b":[2,{}]}', ' { "b" : [ 2.0 , { } ] , "\\u0061" : 1 } '),
    ],
)
def test_spelling_of_numbers_and_objects_makes_no_difference(one: str, other: str) -> None:
    events = [answer_with(f'{{"value":{text}}}'.encode()) for text in (one, other)]

    assert is_same_event(*events)
    assert len({digest_of(event) for event in events}) == 1


@pytest.mark.parametrize("other", ['"1"', "true", "[1]", "1.5", "-1", "null", "10", "{}"])
def test_other_values_have_other_digests(other: str) -> None:
    events = [answer_with(f'{{"value":{text}}}'.encode()) for text in ("1", other)]

    assert len({digest_of(event) for event in events}) == 2


@given(BODIES.flatmap(lambda body: st.tuples(st.just(body), spelled(body))))
def test_redaction_changes_no_digest(bodies: tuple[object, bytes]) -> None:
    """Otherwise a resend after `forget` would be stored as another answer."""
    received = answer_with(json.dumps(bodies[0]).encode(), status=f"for {GUEST}")
    address = Address.parse(GUEST)
    redacted = answer_with(
        address.redact_json(bodies[1].decode()).encode(),
        status=address.redact(received.status),
        email_address=None,
        address_erased=True,
    )

    assert is_same_event(received, redacted)
    assert digest_of(received) == digest_of(redacted)


def test_no_address_can_be_guessed_by_a_digest() -> None:
    """Otherwise a copy of the ledger allows testing guesses after the address is forgotten."""
    body = '{{"status":"accepted","note":"of {0}","{0}":1}}'
    found = {
        digest_of(answer_with(body.format(address).encode(), email_address=address, status=address))
        for address in (GUEST, "somebody.else@example.org", "not%40one")
    }

    assert len(found) == 1


def test_each_part_of_an_event_counts() -> None:
    events: list[SessionEvent | AnswerEvent] = [
        answer(1, "a"),
        answer(1, "a", note="x"),
        msgspec.structs.replace(answer(1, "a"), status="deferred"),
        msgspec.structs.replace(answer(1, "a"), occurred_at=AT + timedelta(microseconds=1)),
        session(1, "a"),
        msgspec.structs.replace(session(1, "a"), query_locale="fr"),
    ]

    assert len({digest_of(event) for event in events}) == len(events)


@pytest.mark.parametrize("value", ["[" * 900 + "]" * 900, "1E-9999999999999999999"])
def test_body_without_a_known_value_equals_itself_only(value: str) -> None:
    """Nested too deeply, or with a number that no computer holds."""
    one, again, other = (
        answer_with(f'{{"value":{value},"x":{number}}}'.encode()) for number in (1, 1, 2)
    )

    assert digest_of(one) == digest_of(again) != digest_of(other)


def test_body_without_a_known_value_hides_its_address() -> None:
    texts = GUEST, "guest\\u0040example.com", "x\\u0040example.org"
    bodies = [f'{{"value":1E-9999999999999999999,"x":"{text}"}}'.encode() for text in texts]

    assert len({digest_of(answer_with(body)) for body in bodies}) == 1
