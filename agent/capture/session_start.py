"""Rules of *start anonymous session* (`docs/till-api.md`)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.capture.reasons import absence, fault_of_id
from agent.capture.refusals import INVALID_CORRELATION_ID, Refusal, StringMember, parse_object
from agent.facts import SessionStarted
from sync.protocol.json_object import Json, json_kind
from sync.protocol.program_terms import SessionKind, first_valid_locale, session_kind

MAX_CORRELATION_ID_CODE_POINTS = 128
# Control characters, and surrogates: those stand for bytes of a path that are not UTF-8.
_FORBIDDEN_IN_ID = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_STRING_MEMBERS = tuple(StringMember)


@dataclass(frozen=True, slots=True)
class SessionStart:
    """A valid session start: the fact to record, and the kind that selects its answer."""

    started: SessionStarted
    kind: SessionKind


def parse_session_start(body: bytes, query_locales: Sequence[str]) -> SessionStart:
    """Parse the request body and the `locale` values of the query string.

    Raises `Refusal` with the documented message.
    """
    members = parse_object(body)
    correlation_id = members.get("correlationId")
    if not is_correlation_id(correlation_id):
        raise Refusal(INVALID_CORRELATION_ID, _fault_of_id(members))
    for field in _STRING_MEMBERS:
        _require_text(field, members.get(field))
    query_locale = first_valid_locale(query_locales)
    return SessionStart(
        started=SessionStarted(
            correlation_id=str(correlation_id),
            query_locale=query_locale.value if query_locale else None,
            closed=_is_closed(members.get("userStatus")),
            body=body,
        ),
        kind=session_kind(members, query_locale),
    )


def is_correlation_id(value: object) -> bool:
    """Return whether `value` is a valid correlation id (`docs/till-api.md`)."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= MAX_CORRELATION_ID_CODE_POINTS
        and not value.isspace()
        and value not in {".", ".."}
        and _FORBIDDEN_IN_ID.search(value) is None
    )


def fault_in_path(correlation_id: str) -> str:
    """Return why the id in the path of a request is not a valid correlation id."""
    name = "the correlation id in the path"
    return fault_of_id(correlation_id, name, MAX_CORRELATION_ID_CODE_POINTS)


def _fault_of_id(members: Mapping[str, Json]) -> str:
    name = "correlationId"
    if name not in members:
        return absence(members, name)
    return fault_of_id(members[name], name, MAX_CORRELATION_ID_CODE_POINTS)


def _require_text(field: StringMember, value: Json) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        reason = f"{field} is {json_kind(value)}, not a string"
        raise Refusal(f"{field} must be a string", reason)
    if "\0" in value:
        raise Refusal(f"{field} must not contain a NUL character", f"{field} has a NUL character")


def _is_closed(user_status: Json) -> bool:
    return isinstance(user_status, str) and user_status.upper() == "CLOSED"
