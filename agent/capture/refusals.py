"""Refusals of a till's request, with their documented messages (`docs/till-api.md`)."""

from enum import StrEnum

from sync.protocol.json_object import Json, NotAnObject, read_object

INVALID_CORRELATION_ID = "Invalid Correlation ID"
NOT_AN_OBJECT = "Request body must be a JSON object"
ADDRESS_REQUIRED = "Email address is required"
ADDRESS_NOT_VALID = "Email address is not valid"
NO_OPEN_SESSION = "The document path provided in the update expression is invalid for update"


class StringMember(StrEnum):
    """Request members that must be strings if present."""

    EXTERNAL_IDENTIFIER = "externalIdentifier"
    CHANNEL = "channel"
    ANONYMOUS_SESSION_ID = "anonymousSessionId"
    USER_STATUS = "userStatus"


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """The request breaks a rule; answered with 400 `INVALID_REQUEST` and this message.

    `reason` says the cause in words, without quoting the request: it is logged.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def parse_object(body: bytes) -> dict[str, Json]:
    """Return the members of `body`, a JSON object; the last of duplicate member names wins.

    Raises `Refusal` for anything that head office could not read either.
    """
    try:
        return read_object(body)
    except NotAnObject as fault:
        raise Refusal(NOT_AN_OBJECT, f"the body {fault}") from None
