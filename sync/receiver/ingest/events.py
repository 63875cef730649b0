"""Parse and validate the events of a batch. Pure, no I/O."""

import contextlib
from datetime import datetime
from typing import TypeAlias, TypeVar

import msgspec

from sync.protocol import wire
from sync.protocol.json_object import (
    ADDRESS,
    DECODE_ERRORS,
    read_object,
    without_erasure_mark,
    without_members,
)
from sync.protocol.program_terms import first_valid_locale
from sync.protocol.rfc3339 import from_rfc3339
from sync.protocol.wire import MAX_ADDRESS_CODE_POINTS, BatchEvent, ErrorCode, EventType

MAX_CORRELATION_ID_CODE_POINTS = 128
# A till's body has at most 16 KiB; an agent adds little more than the name of the address.
MAX_BODY_BYTES = 32 * 1024
_MAX_TEXT = 64
_MAX_STATUS = 64
_ERASED = "erased"
_ACCEPTED = "accepted"
_NUL = "\0"
# JSON text can contain NUL only in this escaped form: a cheap check that skips most bodies.
_ESCAPED_NUL = "\\u0000"


class SessionEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A session started on a till, as stored."""

    sequence: int
    correlation_id: str
    occurred_at: datetime
    query_locale: str | None
    body: str
    external_identifier: str | None = None
    channel: str | None = None
    locale: str | None = None
    anonymous_session_id: str | None = None
    user_status: str | None = None


class AnswerEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An answer to the e-mail prompt, as stored. `body` excludes the address.

    `digest` is that of its content (`ingest.deduplication.digest`), None if it was not computed.
    """

    sequence: int
    correlation_id: str
    occurred_at: datetime
    status: str
    email_address: str | None
    address_erased: bool
    body: str
    digest: str | None = None


class InvalidEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An event that fails validation or a ledger rule."""

    sequence: int
    type: str
    correlation_id: str
    error_code: str
    error_message: str


ValidEvent: TypeAlias = SessionEvent | AnswerEvent
Event: TypeAlias = ValidEvent | InvalidEvent


def type_of(event: ValidEvent) -> EventType:
    """Return the event type on the wire."""
    return (
        EventType.SESSION_STARTED if isinstance(event, SessionEvent) else EventType.EMAIL_ANSWERED
    )


class _SessionBody(msgspec.Struct, rename="camel", frozen=True):
    external_identifier: str | None = None
    channel: str | None = None
    anonymous_session_id: str | None = None
    user_status: str | None = None
    locale: object = None

    def has_nul(self) -> bool:
        texts = self.external_identifier, self.channel, self.anonymous_session_id, self.user_status
        return any(text is not None and _NUL in text for text in texts)


class _AnswerBody(msgspec.Struct, rename="camel", frozen=True):
    status: str
    email_address: str | None = None
    erased: object = None


class _UnsendableBody(msgspec.Struct, rename="camel", frozen=True):
    error_code: str = ""


_WITHHELD = "Its content does not get through to head office; the POS machine keeps it"
_KEY_LOST = "The e-mail address was encrypted with a key that the POS machine has not any more"
_session_body = msgspec.json.Decoder(_SessionBody)
_unsendable_body = msgspec.json.Decoder(_UnsendableBody)
_answer_body = msgspec.json.Decoder(_AnswerBody)
_Body = TypeVar("_Body", _SessionBody, _AnswerBody)


class _InvalidEventError(Exception):
    """The event is invalid. The message names the fault, never a value of the event."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.INVALID_REQUEST) -> None:
        super().__init__(message)
        self.code = code


def parse_event(event: BatchEvent) -> Event:
    """Return the parsed event, or `InvalidEvent` with the reason."""
    try:
        match event.type:
            case EventType.SESSION_STARTED:
                return _parse_session(event)
            case EventType.EMAIL_ANSWERED:
                return _parse_answer(event)
            case wire.DAMAGED_TYPE:
                code, message = _cause_of_loss(event)
            case wire.WITHHELD_TYPE:
                code, message = ErrorCode.UNKNOWN_TYPE, _WITHHELD
            case _:
                code, message = ErrorCode.UNKNOWN_TYPE, "Unknown event type"
    except _InvalidEventError as error:
        code, message = error.code, str(error)
    return invalid_event(event.sequence, event.type, event.correlation_id, code, message)


def _cause_of_loss(event: BatchEvent) -> tuple[ErrorCode, str]:
    """Return why an agent sends only the number; agents of version 0.1.0 do not say."""
    with contextlib.suppress(msgspec.DecodeError):
        if _unsendable_body.decode(event.body).error_code == ErrorCode.KEY_LOST:
            return ErrorCode.KEY_LOST, _KEY_LOST
    return ErrorCode.DAMAGED, "The event was damaged on the POS machine"


def invalid_event(
    sequence: int, kind: str, correlation_id: str, code: ErrorCode, message: str
) -> InvalidEvent:
    """Return an invalid event; its type and correlation id are untrusted and get truncated."""
    return InvalidEvent(
        sequence=sequence,
        type=storable(kind),
        correlation_id=storable(correlation_id, MAX_CORRELATION_ID_CODE_POINTS),
        error_code=code.value,
        error_message=message,
    )


def storable(text: str, max_length: int = _MAX_TEXT) -> str:
    """Return `text` in a form that every database can store: truncated, without NUL."""
    return text[:max_length].replace(_NUL, "\ufffd")


def _parse_session(event: BatchEvent) -> SessionEvent:
    body, text = _parse_body(event, _session_body)
    if _ESCAPED_NUL in text and body.has_nul():
        raise _InvalidEventError("A field of the body contains a NUL character")
    return SessionEvent(
        sequence=event.sequence,
        correlation_id=_correlation_id(event),
        occurred_at=_occurred_at(event),
        query_locale=None if event.query_locale is None else storable(event.query_locale),
        body=text,
        external_identifier=body.external_identifier,
        channel=body.channel,
        locale=first_valid_locale((event.query_locale, body.locale)),
        anonymous_session_id=body.anonymous_session_id,
        user_status=body.user_status,
    )


def _parse_answer(event: BatchEvent) -> AnswerEvent:
    body, text = _parse_body(event, _answer_body)
    unmarked = without_erasure_mark(text)
    if unmarked is not None:
        # The till's own members may have the names of the mark.
        body, text = _decode(unmarked.encode(), _answer_body), unmarked
    if not body.status or len(body.status) > _MAX_STATUS or _NUL in body.status:
        raise _InvalidEventError("The body is invalid: status must have 1 to 64 characters")
    address = body.email_address or None
    if address is not None and (_NUL in address or len(address) > MAX_ADDRESS_CODE_POINTS):
        raise _InvalidEventError("Email address is not valid")
    is_marked = unmarked is not None or body.erased is True
    erased = address is None and is_marked and body.status == _ACCEPTED
    if address is None and not erased and body.status == _ACCEPTED:
        raise _InvalidEventError("Email address is required when status is accepted")
    return AnswerEvent(
        sequence=event.sequence,
        correlation_id=_correlation_id(event),
        occurred_at=_occurred_at(event),
        status=body.status,
        email_address=address,
        address_erased=erased,
        body=_without(text, (ADDRESS, _ERASED) if erased and unmarked is None else (ADDRESS,)),
    )


def _parse_body(event: BatchEvent, decoder: msgspec.json.Decoder[_Body]) -> tuple[_Body, str]:
    if memoryview(event.body).nbytes > MAX_BODY_BYTES:
        message = f"The body is larger than {MAX_BODY_BYTES} bytes"
        raise _InvalidEventError(message, ErrorCode.PAYLOAD_TOO_LARGE)
    document = _decode(event.body, decoder)
    try:
        return document, str(event.body, "utf-8")
    except ValueError:
        raise _InvalidEventError("The body is not JSON") from None


def _decode(body: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[_Body]) -> _Body:
    try:
        try:
            return decoder.decode(body)
        except msgspec.ValidationError:
            # It checks each of duplicate members, of which only the last counts.
            return msgspec.convert(read_object(body), decoder.type)
    except msgspec.ValidationError as error:
        raise _InvalidEventError(f"The body is invalid: {error}") from None
    except DECODE_ERRORS:
        raise _InvalidEventError("The body is not JSON") from None


def _without(text: str, names: tuple[str, ...]) -> str:
    """Return the JSON object `text` without these members; the others stay byte for byte."""
    # A member name can also be written with escapes.
    if "\\" not in text and not any(name in text for name in names):
        return text
    return without_members(text.encode(), *names).decode()


def _correlation_id(event: BatchEvent) -> str:
    correlation_id = event.correlation_id
    fits = 0 < len(correlation_id) <= MAX_CORRELATION_ID_CODE_POINTS
    if not fits or _NUL in correlation_id:
        raise _InvalidEventError("Invalid Correlation ID")
    return correlation_id


def _occurred_at(event: BatchEvent) -> datetime:
    occurred_at = from_rfc3339(event.occurred_at)
    if occurred_at is None:
        raise _InvalidEventError("occurredAt must be an RFC 3339 timestamp with an offset")
    return occurred_at
