"""Parsing: an invalid event affects only itself; an invalid batch or heartbeat is a HttpError."""

import json
import tracemalloc
from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.request_body import MAX_BODY_BYTES as MAX_TILL_BODY_BYTES
from sync.protocol.wire import ErrorCode
from sync.receiver.auth.tokens import AgentName, EnrolledAgent
from sync.receiver.ingest.events import Event, InvalidEvent, SessionEvent
from sync.receiver.ingest.parse import MAX_COMMAS, MAX_EVENTS, parse_batch, parse_heartbeat
from sync.runtime.network.http_errors import HttpError
from tests.support.json_strategies import almost_json, texts, values

NOW = datetime(2026, 6, 1, tzinfo=UTC)
AGENT = EnrolledAgent(AgentName("store", "till"), NOW)
HEAD: dict[str, object] = {
    "storeId": "store",
    "tillId": "till",
    "epoch": "epoch",
    "bootId": "boot",
    "agentVersion": "1.0",
    "sentAt": "2026-01-01T00:00:00Z",
}
HEARTBEAT: dict[str, object] = {
    **HEAD,
    "sentMonotonicUs": 1,
    "lastSequence": 2,
    "watermark": 1,
    "outstanding": 1,
    "deadLetters": 0,
    "oldestUndeliveredAt": None,
    "lastActivityAt": "2026-01-01T00:00:00Z",
    "databaseBytes": 1,
    "freeBytes": 1,
}


def valid(sequence: int) -> dict[str, object]:
    """Return the members of a valid event."""
    return {
        "sequence": sequence,
        "type": "session.started",
        "correlationId": f"id-{sequence}",
        "occurredAt": "2026-01-01T00:00:00Z",
        "body": {},
    }


def batch(events: Sequence[object], **head: object) -> bytes:
    """Return a batch as JSON; an event given as bytes is inserted verbatim."""
    written = [e if isinstance(e, bytes) else json.dumps(e).encode() for e in events]
    members = json.dumps({**HEAD, "baseSequence": 1, **head}).encode()
    return members[:-1] + b',"events":[' + b",".join(written) + b"]}"


def read(body: bytes) -> Sequence[Event]:
    """Return the parsed events of a batch."""
    return parse_batch(body, AGENT, NOW).events


def error_of(body: bytes) -> HttpError:
    """Return the problem of an invalid batch."""
    with pytest.raises(HttpError) as raised:
        parse_batch(body, AGENT, NOW)
    return raised.value


def heartbeat_error_of(body: object) -> HttpError:
    """Return the problem of an invalid heartbeat."""
    written = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(HttpError) as raised:
        parse_heartbeat(written, AGENT, NOW)
    return raised.value


# One invalid event.

INVALID = [
    pytest.param({"sequence": 2}, id="nothing but a number"),
    pytest.param({**valid(2), "type": None}, id="no type"),
    pytest.param({**valid(2), "type": 7}, id="a type that is no text"),
    pytest.param({**valid(2), "correlationId": ["x"]}, id="an id that is no text"),
    pytest.param({**valid(2), "occurredAt": 7}, id="a time that is no text"),
    pytest.param({**valid(2), "occurredAt": "yesterday"}, id="no time"),
    pytest.param({**valid(2), "body": []}, id="a body that is no object"),
    pytest.param({**valid(2), "monotonicUs": "x"}, id="a clock that is no number"),
    pytest.param({**valid(2), "bootId": ""}, id="a boot without a name"),
    pytest.param({**valid(2), "bootId": "a\0"}, id="a boot with NUL"),
    pytest.param({**valid(2), "bootId": "x" * 129}, id="a boot with a long name"),
    pytest.param({**valid(2), "type": "points.spent"}, id="an unknown type"),
    pytest.param(
        json.dumps(valid(2)).encode().replace(b'"body": {}', b'"body": {"a": "\xff"}'),
        id="a body that is not UTF-8",
    ),
]


@pytest.mark.parametrize("bad", INVALID)
def test_invalid_event_does_not_affect_its_neighbours(bad: object) -> None:
    first, second, third = read(batch([valid(1), bad, valid(3)]))

    assert isinstance(second, InvalidEvent)
    assert second.sequence == 2
    assert (type(first), type(third)) == (SessionEvent, SessionEvent)


@given(
    fields=st.dictionaries(
        st.sampled_from(["type", "correlationId", "occurredAt", "body", "bootId", "monotonicUs"]),
        values,
    )
)
def test_event_with_arbitrary_fields_does_not_affect_its_neighbours(
    fields: dict[str, object],
) -> None:
    first, _, third = read(batch([valid(1), {**valid(2), **fields}, valid(3)]))

    assert (type(first), type(third)) == (SessionEvent, SessionEvent)


def test_undecodable_event_is_dropped_from_the_batch_but_kept_as_invalid() -> None:
    inbound = parse_batch(batch([valid(1), {"sequence": 2}, valid(3)]), AGENT, NOW)

    assert [event.sequence for event in inbound.batch.events] == [1, 3]
    assert [event.sequence for event in inbound.events] == [1, 2, 3]


@pytest.mark.parametrize("number", ["9" * 400, "1" + "0" * 5000, "1e999", "-1e-999", "0.1"])
def test_number_of_any_size_in_a_body_is_kept_byte_for_byte(number: str) -> None:
    event = json.dumps(valid(1)).replace('"body": {}', f'"body": {{"a": {number}}}').encode()

    [session] = read(batch([event]))

    assert isinstance(session, SessionEvent)
    assert session.body == f'{{"a": {number}}}'


# Invalid batches.


@given(body=almost_json | values.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_body_is_a_client_error(body: bytes) -> None:
    with pytest.raises(HttpError) as raised:
        parse_batch(body, AGENT, NOW)

    assert raised.value.status == HTTPStatus.BAD_REQUEST


@given(cut=st.integers(0, 400))
def test_truncated_batch_is_rejected(cut: int) -> None:
    whole = batch([valid(1), valid(2)])

    assert error_of(whole[: min(cut, len(whole) - 1)]).code == ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize(
    "broken",
    [
        b'{"a":"\\ud800"}',
        b'{"a":"\\udc00\\ud800"}',
        b'{"a":"\x00"}',
        b'{"a":"\x01"}',
        b'{"a":"\\q"}',
        b'{"a":NaN}',
        b'{"a":01}',
        b'{"a":1e}',
        b"{'a':1}",
        b'{"a":1,}',
    ],
)
def test_invalid_json_rejects_the_batch(broken: bytes) -> None:
    """Without valid JSON the end of a value, and so the start of the next event, is unknown."""
    event = json.dumps(valid(2)).encode().replace(b'"body": {}', b'"body": ' + broken)

    assert error_of(batch([valid(1), event])).message == "The body is not JSON"


@pytest.mark.parametrize("depth", [2000, 200_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nesting_bomb_is_rejected(depth: int, opening: bytes, closing: bytes) -> None:
    bomb = b'{"a":' + opening * depth + b"1" + closing * depth + b"}"
    event = json.dumps(valid(1)).encode().replace(b'"body": {}', b'"body": ' + bomb)

    assert error_of(batch([event])).status == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("trailing", [b"x", b"{}", b"\x00"])
def test_trailing_bytes_are_rejected(trailing: bytes) -> None:
    assert error_of(batch([valid(1)]) + trailing).message == "The body is not JSON"


@pytest.mark.parametrize("name", [*HEAD, "baseSequence"])
def test_missing_member_is_named(name: str) -> None:
    members = {**HEAD, "baseSequence": 1, "events": []}
    del members[name]

    assert f"`{name}`" in error_of(json.dumps(members).encode()).message


@pytest.mark.parametrize("name", ["epoch", "bootId", "agentVersion"])
@pytest.mark.parametrize("value", ["", " ", "a b", "é", "a\0", "a\n", "x" * 129])
def test_unprintable_or_too_long_id_is_rejected(name: str, value: str) -> None:
    message = error_of(batch([valid(1)], **{name: value})).message

    assert message.startswith("epoch, bootId and agentVersion must be")


@pytest.mark.parametrize("number", [0, -1, 2**63, 10**30])
def test_sequence_out_of_range_is_rejected(number: int) -> None:
    assert error_of(batch([valid(number)])).message == "A number is out of range"


@pytest.mark.parametrize("number", [-1, 2**63])
def test_base_sequence_out_of_range_is_rejected(number: int) -> None:
    problem = error_of(batch([valid(1)], baseSequence=number))

    assert problem.message == "A number is out of range"


@pytest.mark.parametrize("number", [-(2**63), 2**63, 10**30])
def test_monotonic_time_of_sending_out_of_range_is_rejected(number: int) -> None:
    """The database cannot hold it: it was answered as a failure of the database, for ever."""
    problem = error_of(batch([valid(1)], sentMonotonicUs=number))

    assert problem.message == "A number is out of range"


@pytest.mark.parametrize("number", ["1.0", "1e0", '"1"', "true", "null", "9" * 5000])
def test_event_without_an_integer_sequence_rejects_the_batch(number: str) -> None:
    event = json.dumps(valid(1)).replace('"sequence": 1', f'"sequence": {number}').encode()

    assert error_of(batch([event])).status == HTTPStatus.BAD_REQUEST


def test_highest_sequence_is_accepted() -> None:
    assert len(read(batch([valid(2**63 - 1)]))) == 1


def test_batch_with_too_many_events_is_too_large() -> None:
    many = [{"sequence": number} for number in range(1, MAX_EVENTS + 2)]

    assert error_of(batch(many)).status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert len(read(batch(many[:-1]))) == MAX_EVENTS


@pytest.mark.parametrize("event", [b"1", b"{}", b"[]", b'{"sequence":1}'])
def test_millions_of_tiny_events_are_rejected_before_parsing(event: bytes) -> None:
    body = batch([event + (b"," + event) * MAX_COMMAS])
    tracemalloc.start()
    try:
        status = error_of(body).status
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert peak < 1024 * 1024


def test_largest_body_of_one_event_is_accepted() -> None:
    body = {"correlationId": "a", "channel": "pos", "more": [0] * (MAX_TILL_BODY_BYTES // 2)}

    assert len(read(batch([valid(1) | {"body": body}]))) == 1


def test_empty_batch_is_accepted() -> None:
    assert read(batch([])) == []


@given(name=texts.filter(lambda name: name not in {*HEAD, "baseSequence", "events"}), value=values)
def test_unknown_member_is_ignored(name: str, value: object) -> None:
    if name != "sentMonotonicUs":
        assert len(read(batch([{**valid(1), "aNewOne": value}], **{name: value}))) == 1


# Heartbeats.


def test_heartbeat_is_parsed() -> None:
    inbound = parse_heartbeat(json.dumps(HEARTBEAT).encode(), AGENT, NOW)

    assert (inbound.heartbeat.outstanding, inbound.received_at) == (1, NOW)


@given(body=almost_json | values.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_heartbeat_body_is_a_client_error(body: bytes) -> None:
    assert heartbeat_error_of(body).status == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize(
    "name",
    ["lastSequence", "watermark", "outstanding", "deadLetters", "databaseBytes", "freeBytes"],
)
@pytest.mark.parametrize("number", [-1, 2**63])
def test_heartbeat_number_out_of_range_is_rejected(name: str, number: int) -> None:
    assert heartbeat_error_of({**HEARTBEAT, name: number}).message == "A number is out of range"


@pytest.mark.parametrize("number", [-(2**63), 2**63])
def test_monotonic_time_of_a_heartbeat_out_of_range_is_rejected(number: int) -> None:
    problem = heartbeat_error_of({**HEARTBEAT, "sentMonotonicUs": number})

    assert problem.message == "A number is out of range"


@pytest.mark.parametrize(
    "epochs",
    [
        [{"epoch": "a b", "lastSequence": 1}],
        [{"epoch": "a\0", "lastSequence": 1}],
        [{"epoch": "old", "lastSequence": -1}],
        [{"epoch": "old"}],
        {},
    ],
)
def test_invalid_older_epoch_is_rejected(epochs: object) -> None:
    assert heartbeat_error_of({**HEARTBEAT, "epochs": epochs}).status == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize(
    "after",
    [
        7,
        "epoch/1",
        {},
        {"epoch": "epoch"},
        {"epoch": "", "sequence": 1},
        {"epoch": "a\0", "sequence": 1},
        {"epoch": "x" * 129, "sequence": 1},
        {"epoch": "epoch", "sequence": -1},
        {"epoch": "epoch", "sequence": 2**63},
        {"epoch": "epoch", "sequence": "1"},
    ],
)
def test_invalid_rejected_after_is_rejected(after: object) -> None:
    assert (
        heartbeat_error_of({**HEARTBEAT, "rejectedAfter": after}).status == HTTPStatus.BAD_REQUEST
    )


@pytest.mark.parametrize("name", ["epoch", "bootId", "agentVersion"])
@pytest.mark.parametrize("value", ["", "a b", "a\0"])
def test_invalid_id_in_a_heartbeat_is_rejected(name: str, value: str) -> None:
    assert heartbeat_error_of({**HEARTBEAT, name: value}).status == HTTPStatus.BAD_REQUEST
