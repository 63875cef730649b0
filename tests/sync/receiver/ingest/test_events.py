"""Parsing of events: valid, or invalid with a reason that reveals no customer data."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.request_body import MAX_BODY_BYTES as MAX_TILL_BODY_BYTES
from sync.protocol.wire import (
    DAMAGED_TYPE,
    MAX_ADDRESS_CODE_POINTS,
    WITHHELD_TYPE,
    BatchEvent,
    ErrorCode,
    EventType,
)
from sync.receiver.ingest.events import (
    MAX_BODY_BYTES,
    MAX_CORRELATION_ID_CODE_POINTS,
    AnswerEvent,
    Event,
    InvalidEvent,
    SessionEvent,
    parse_event,
    storable,
)
from tests.support.json_strategies import almost_json, objects, texts, values

ADDRESS = "guest@example.com"
NUL = "\0"
IDS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=NUL),
    min_size=1,
    max_size=MAX_CORRELATION_ID_CODE_POINTS,
)


def event(
    body: object,
    kind: str = EventType.SESSION_STARTED,
    *,
    correlation_id: str = "id",
    occurred_at: str = "2026-01-01T00:00:00Z",
    query_locale: str | None = None,
) -> BatchEvent:
    """Return an event as received; a body that is not bytes is encoded as JSON."""
    return BatchEvent(
        sequence=7,
        type=kind,
        correlation_id=correlation_id,
        occurred_at=occurred_at,
        body=msgspec.Raw(body if isinstance(body, bytes) else json.dumps(body).encode()),
        query_locale=query_locale,
    )


def session_in(body: object, query_locale: str | None = None) -> SessionEvent:
    """Parse a valid session start."""
    read = parse_event(event(body, query_locale=query_locale))
    assert isinstance(read, SessionEvent)
    return read


def answer_in(body: object) -> AnswerEvent:
    """Parse a valid answer."""
    read = parse_event(event(body, EventType.EMAIL_ANSWERED))
    assert isinstance(read, AnswerEvent)
    return read


def reason(read: Event) -> str:
    """Return the reason of an invalid event."""
    assert isinstance(read, InvalidEvent)
    assert read.error_code == ErrorCode.INVALID_REQUEST
    return read.error_message


# All events.


def body_of(size: int, kind: EventType) -> bytes:
    """Return a valid body of a size in bytes."""
    begin, end = b'{"status":"declined","more":"', b'"}'
    assert kind in EventType
    return begin + b"x" * (size - len(begin) - len(end)) + end


@pytest.mark.parametrize("kind", EventType)
def test_larger_body_than_a_till_can_send_is_rejected_by_name(kind: EventType) -> None:
    """One event of 62 MiB, of 2 KB compressed, wrote its columns twice."""
    largest = parse_event(event(body_of(MAX_BODY_BYTES, kind), kind))
    larger = parse_event(event(body_of(MAX_BODY_BYTES + 1, kind), kind))

    assert not isinstance(largest, InvalidEvent)
    assert isinstance(larger, InvalidEvent)
    assert (larger.error_code, larger.sequence) == (ErrorCode.PAYLOAD_TOO_LARGE, 7)
    assert larger.error_message == "The body is larger than 32768 bytes"


@pytest.mark.parametrize("part", ["kind", "correlation_id", "occurred_at", "query_locale"])
def test_no_part_of_an_event_is_kept_at_any_length(part: str) -> None:
    long: dict[str, str] = {part: "x" * 100_000}

    read = parse_event(event(b"{}", **long))

    assert sum(len(str(kept)) for kept in msgspec.structs.astuple(read)) < 1_000


def test_largest_body_of_a_till_fits_with_what_the_agent_adds() -> None:
    """It puts the address back, each character of which may be written as an escape."""
    added = len('"emailAddress":"",') + 6 * MAX_ADDRESS_CODE_POINTS

    assert MAX_TILL_BODY_BYTES + added < MAX_BODY_BYTES


@given(
    body=almost_json | objects.map(lambda members: json.dumps(members).encode()),
    kind=st.sampled_from(list(EventType)) | texts,
    correlation_id=texts,
    occurred_at=st.just("2026-01-01T00:00:00Z") | texts,
    query_locale=st.none() | texts,
)
def test_any_event_parses_or_is_invalid_under_its_number(
    body: bytes, kind: str, correlation_id: str, occurred_at: str, query_locale: str | None
) -> None:
    read = parse_event(
        event(
            body,
            kind,
            correlation_id=correlation_id,
            occurred_at=occurred_at,
            query_locale=query_locale,
        )
    )

    assert read.sequence == 7
    assert all(NUL not in kept for kept in msgspec.structs.astuple(read) if isinstance(kept, str))


@given(correlation_id=IDS)
def test_any_id_without_nul_up_to_128_code_points_is_kept_verbatim(correlation_id: str) -> None:
    read = parse_event(event({}, correlation_id=correlation_id))

    assert isinstance(read, SessionEvent)
    assert read.correlation_id == correlation_id


@pytest.mark.parametrize("correlation_id", ["", "a\0", "x" * 129])
@pytest.mark.parametrize(
    ("kind", "body"),
    [(EventType.SESSION_STARTED, {}), (EventType.EMAIL_ANSWERED, {"status": "declined"})],
)
def test_invalid_correlation_id_is_rejected(
    correlation_id: str, kind: EventType, body: object
) -> None:
    read = parse_event(event(body, kind, correlation_id=correlation_id))

    assert reason(read) == "Invalid Correlation ID"


def test_event_damaged_on_the_pos_machine_is_rejected_with_its_own_code() -> None:
    read = parse_event(event({}, DAMAGED_TYPE, correlation_id=""))

    assert isinstance(read, InvalidEvent)
    assert (read.error_code, read.type) == (ErrorCode.DAMAGED, DAMAGED_TYPE)


def test_event_whose_content_does_not_get_through_is_said_to_be_at_the_store() -> None:
    """Behind a firewall that refuses it, people read "Unknown event type"."""
    read = parse_event(event({}, WITHHELD_TYPE))

    assert isinstance(read, InvalidEvent)
    assert read.error_message.endswith("the POS machine keeps it")


@pytest.mark.parametrize("kind", ["", "SESSION.STARTED", "points.spent", WITHHELD_TYPE])
def test_unknown_type_is_rejected_with_its_own_code(kind: str) -> None:
    read = parse_event(event({}, kind))

    assert isinstance(read, InvalidEvent)
    assert (read.error_code, read.type) == (ErrorCode.UNKNOWN_TYPE, kind)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"7", b"{}x", b"\xff", b'{"channel":"\\ud800"}']
)
def test_body_that_is_not_an_object_is_rejected(body: bytes) -> None:
    assert reason(parse_event(event(body))).startswith("The body ")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (EventType.SESSION_STARTED, {"channel": ["s3cret"]}),
        (EventType.EMAIL_ANSWERED, {"status": "accepted", "emailAddress": ["s3cret"]}),
        (EventType.EMAIL_ANSWERED, {"status": {"s3cret": 1}}),
        (EventType.EMAIL_ANSWERED, {"status": "accepted", "emailAddress": "s3cret\0"}),
        (EventType.EMAIL_ANSWERED, {"status": "s3cret" * 20}),
    ],
)
def test_rejection_reason_never_contains_a_value(kind: EventType, body: object) -> None:
    assert "s3cret" not in reason(parse_event(event(body, kind)))


# Sessions.


@given(members=objects)
def test_session_body_is_kept_byte_for_byte(members: dict[str, object]) -> None:
    body = json.dumps(members, indent=1).encode()

    read = parse_event(event(body))

    assert isinstance(read, InvalidEvent) or read.body.encode() == body


@pytest.mark.parametrize(
    "name", ["externalIdentifier", "channel", "anonymousSessionId", "userStatus"]
)
@pytest.mark.parametrize("value", [7, True, [], {}, "a\0b"])
def test_field_with_a_column_must_be_text_without_nul(name: str, value: object) -> None:
    assert reason(parse_event(event({name: value})))


@given(value=values)
def test_unknown_field_can_have_any_value(value: object) -> None:
    assert session_in({"anyOther": value}).channel is None


def test_columns_are_filled_from_the_body() -> None:
    read = session_in(
        {
            "externalIdentifier": "e",
            "channel": "c",
            "anonymousSessionId": "a",
            "userStatus": "u",
            "locale": "FR-ca",
        }
    )

    columns = (
        read.external_identifier,
        read.channel,
        read.anonymous_session_id,
        read.user_status,
        read.locale,
    )
    assert columns == ("e", "c", "a", "u", "fr-CA")


@pytest.mark.parametrize(
    ("query", "body", "locale"),
    [
        ("en-US", "fr-CA", "en-US"),
        ("xx", "fr-CA", "fr-CA"),
        (None, "EN", None),
        (None, 7, None),
        ("FR", ["fr-CA"], None),
    ],
)
def test_query_locale_takes_precedence_and_invalid_locales_are_ignored(
    query: str | None, body: object, locale: str | None
) -> None:
    assert session_in({"locale": body}, query).locale == locale


# Answers.


def test_address_is_moved_out_of_the_body() -> None:
    read = answer_in({"emailAddress": ADDRESS, "status": "accepted", "more": [1]})

    assert (read.email_address, read.address_erased) == (ADDRESS, False)
    assert json.loads(read.body) == {"status": "accepted", "more": [1]}


@pytest.mark.parametrize(
    "body",
    [
        b'{"\\u0065mailAddress":"guest@example.com","status":"accepted"}',
        b'{"emailAddress":null,"status":"accepted","emailAddress":"guest@example.com"}',
        b'{"emailAddress":"guest@example.com","emailAddress":"guest@example.com","status":"accepted"}',
        b'{ "status" : "accepted" , "emailAddress" : "guest@example.com" }',
    ],
)
def test_address_is_removed_from_the_body_in_every_json_spelling(body: bytes) -> None:
    read = answer_in(body)

    assert read.email_address == ADDRESS
    assert json.loads(read.body) == {"status": "accepted"}


@given(members=st.dictionaries(st.text("abc", min_size=1), values, max_size=4))
def test_erased_answer_has_the_same_body_as_the_full_one(members: dict[str, object]) -> None:
    rest = {**members, "status": "accepted"}

    whole = answer_in({"emailAddress": ADDRESS, **rest})
    erased = answer_in({"emailAddress": None, "erased": True, **rest})

    assert erased.body == whole.body
    assert (erased.email_address, erased.address_erased) == (None, True)


@pytest.mark.parametrize("status", ["declined", "deferred", "withdrawn", "x" * 64])
def test_answer_without_address_is_not_erased(status: str) -> None:
    read = answer_in({"status": status})

    assert (read.status, read.email_address, read.address_erased) == (status, None, False)


@pytest.mark.parametrize(
    "members", [{}, {"emailAddress": None}, {"emailAddress": ""}, {"erased": "true"}]
)
def test_accepted_answer_without_address_is_rejected(members: dict[str, object]) -> None:
    read = parse_event(event({"status": "accepted", **members}, EventType.EMAIL_ANSWERED))

    assert reason(read) == "Email address is required when status is accepted"


@pytest.mark.parametrize("status", [None, "", 7, "a\0", "x" * 65])
def test_invalid_status_is_rejected(status: object) -> None:
    read = parse_event(event({"status": status}, EventType.EMAIL_ANSWERED))

    assert reason(read).startswith("The body is invalid")


@pytest.mark.parametrize(
    "address", ["guest\0@example.com", "x" * (MAX_ADDRESS_CODE_POINTS - 4) + "@b.ca"]
)
def test_address_that_cannot_be_stored_or_forgotten_is_rejected(address: str) -> None:
    body = {"status": "accepted", "emailAddress": address}

    assert (
        reason(parse_event(event(body, EventType.EMAIL_ANSWERED))) == "Email address is not valid"
    )


# Times.


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-13-01T00:00:00Z",
        "2026-01-01T24:00:01Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "1767225600",
    ],
)
def test_invalid_occurred_at_makes_the_event_invalid(text: str) -> None:
    assert reason(parse_event(event({}, occurred_at=text))).startswith("occurredAt must be")


@given(text=texts, most=st.integers(0, 80))
def test_shown_text_is_truncated_and_free_of_nul(text: str, most: int) -> None:
    assert len(storable(text, most)) <= most
    assert NUL not in storable(text, most)
