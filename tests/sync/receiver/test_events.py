"""What an event says: taken as the till meant it, or unfit, and the reason gives nothing away."""

import json
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.protocol.wire import WITHHELD_TYPE, BatchEvent, ErrorCode, EventType
from sync.receiver.ingest.events import (
    MAX_CORRELATION_ID_CODE_POINTS,
    AnswerFact,
    Event,
    SessionFact,
    Unfit,
    read_event,
    read_moment,
    shown,
)
from tests.agent.capture.strategies import almost_json, objects, texts, values

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
    """Return an event as it comes; a body that is not bytes is written as JSON."""
    return BatchEvent(
        sequence=7,
        type=kind,
        correlation_id=correlation_id,
        occurred_at=occurred_at,
        body=msgspec.Raw(body if isinstance(body, bytes) else json.dumps(body).encode()),
        query_locale=query_locale,
    )


def session_in(body: object, query_locale: str | None = None) -> SessionFact:
    """Return what a session start that fits says."""
    read = read_event(event(body, query_locale=query_locale))
    assert isinstance(read, SessionFact)
    return read


def answer_in(body: object) -> AnswerFact:
    """Return what an answer that fits says."""
    read = read_event(event(body, EventType.EMAIL_ANSWERED))
    assert isinstance(read, AnswerFact)
    return read


def reason(read: Event) -> str:
    """Return why an event cannot be taken."""
    assert isinstance(read, Unfit)
    assert read.error_code == ErrorCode.INVALID_REQUEST
    return read.error_message


# Any event at all.


@given(
    body=almost_json | objects.map(lambda members: json.dumps(members).encode()),
    kind=st.sampled_from(list(EventType)) | texts,
    correlation_id=texts,
    occurred_at=st.just("2026-01-01T00:00:00Z") | texts,
    query_locale=st.none() | texts,
)
def test_whatever_comes_is_read_or_told_unfit_under_its_number(
    body: bytes, kind: str, correlation_id: str, occurred_at: str, query_locale: str | None
) -> None:
    read = read_event(
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
def test_any_id_without_nul_up_to_128_code_points_is_kept_as_it_is(correlation_id: str) -> None:
    read = read_event(event({}, correlation_id=correlation_id))

    assert isinstance(read, SessionFact)
    assert read.correlation_id == correlation_id


@pytest.mark.parametrize("correlation_id", ["", "a\0", "x" * 129])
@pytest.mark.parametrize(
    ("kind", "body"),
    [(EventType.SESSION_STARTED, {}), (EventType.EMAIL_ANSWERED, {"status": "declined"})],
)
def test_impossible_id_is_refused(correlation_id: str, kind: EventType, body: object) -> None:
    read = read_event(event(body, kind, correlation_id=correlation_id))

    assert reason(read) == "Invalid Correlation ID"


@pytest.mark.parametrize("kind", ["", "SESSION.STARTED", "points.spent", WITHHELD_TYPE])
def test_unknown_type_is_named_as_such(kind: str) -> None:
    read = read_event(event({}, kind))

    assert isinstance(read, Unfit)
    assert (read.error_code, read.type) == (ErrorCode.UNKNOWN_TYPE, kind)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"7", b"{}x", b"\xff", b'{"channel":"\\ud800"}']
)
def test_body_that_is_no_object_is_refused(body: bytes) -> None:
    assert reason(read_event(event(body))).startswith("The body ")


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
def test_reason_never_holds_what_the_customer_said(kind: EventType, body: object) -> None:
    assert "s3cret" not in reason(read_event(event(body, kind)))


# Sessions.


@given(members=objects)
def test_body_of_a_session_is_kept_letter_for_letter(members: dict[str, object]) -> None:
    body = json.dumps(members, indent=1).encode()

    read = read_event(event(body))

    assert isinstance(read, Unfit) or read.body.encode() == body


@pytest.mark.parametrize(
    "name", ["externalIdentifier", "channel", "anonymousSessionId", "userStatus"]
)
@pytest.mark.parametrize("value", [7, True, [], {}, "a\0b"])
def test_field_that_has_a_column_has_to_be_text_that_fits_it(name: str, value: object) -> None:
    assert reason(read_event(event({name: value})))


@given(value=values)
def test_unknown_field_can_hold_anything(value: object) -> None:
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
def test_locale_of_the_query_goes_before_the_bodys_and_a_wrong_one_is_no_error(
    query: str | None, body: object, locale: str | None
) -> None:
    assert session_in({"locale": body}, query).locale == locale


# Answers.


def test_address_is_taken_out_of_the_body_and_kept_beside_it() -> None:
    read = answer_in({"emailAddress": ADDRESS, "status": "accepted", "more": [1]})

    assert (read.address, read.erased) == (ADDRESS, False)
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
def test_address_is_in_no_spelling_left_in_the_body(body: bytes) -> None:
    read = answer_in(body)

    assert read.address == ADDRESS
    assert json.loads(read.body) == {"status": "accepted"}


@given(members=st.dictionaries(st.text("abc", min_size=1), values, max_size=4))
def test_erased_answer_has_the_same_body_as_the_whole_one(members: dict[str, object]) -> None:
    rest = {**members, "status": "accepted"}

    whole = answer_in({"emailAddress": ADDRESS, **rest})
    erased = answer_in({"emailAddress": None, "erased": True, **rest})

    assert erased.body == whole.body
    assert (erased.address, erased.erased) == (None, True)


@pytest.mark.parametrize("status", ["declined", "deferred", "withdrawn", "x" * 64])
def test_answer_without_an_address_is_not_an_erased_one(status: str) -> None:
    read = answer_in({"status": status})

    assert (read.status, read.address, read.erased) == (status, None, False)


@pytest.mark.parametrize(
    "members", [{}, {"emailAddress": None}, {"emailAddress": ""}, {"erased": "true"}]
)
def test_accepted_without_an_address_is_refused(members: dict[str, object]) -> None:
    read = read_event(event({"status": "accepted", **members}, EventType.EMAIL_ANSWERED))

    assert reason(read) == "Email address is required when status is accepted"


@pytest.mark.parametrize("status", [None, "", 7, "a\0", "x" * 65])
def test_impossible_status_is_refused(status: object) -> None:
    read = read_event(event({"status": status}, EventType.EMAIL_ANSWERED))

    assert reason(read).startswith("The body does not fit")


def test_address_with_nul_is_refused() -> None:
    body = {"status": "accepted", "emailAddress": "guest\0@example.com"}

    assert reason(read_event(event(body, EventType.EMAIL_ANSWERED))) == "Email address is not valid"


# Times.


@given(
    at=st.datetimes(
        datetime(1, 1, 2),  # noqa: DTZ001 - hypothesis wants bounds without a zone
        datetime(9999, 12, 30),  # noqa: DTZ001 - as above
        timezones=st.integers(-1439, 1439).map(lambda offset: timezone(timedelta(minutes=offset))),
    )
)
def test_time_with_any_offset_is_read_as_the_moment_it_names(at: datetime) -> None:
    read = read_moment(at.isoformat())

    assert read == at
    assert read is not None
    assert read.tzinfo is UTC


@given(text=texts)
def test_any_text_is_a_moment_or_none(text: str) -> None:
    moment = read_moment(text)

    assert moment is None or moment.tzinfo is UTC


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
def test_what_names_no_moment_makes_the_event_unfit(text: str) -> None:
    assert reason(read_event(event({}, occurred_at=text))).startswith("occurredAt must be")


@given(text=texts, most=st.integers(0, 80))
def test_what_is_shown_of_anything_fits_any_database(text: str, most: int) -> None:
    assert len(shown(text, most)) <= most
    assert NUL not in shown(text, most)
