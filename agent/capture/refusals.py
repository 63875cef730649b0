"""The ways a rule says no to a till, with the pages' own messages."""

from enum import StrEnum

INVALID_CORRELATION_ID = "Invalid Correlation ID"
NOT_AN_OBJECT = "Request body must be a JSON object"
ADDRESS_REQUIRED = "Email address is required"
ADDRESS_NOT_VALID = "Email address is not valid"
NO_OPEN_SESSION = "The document path provided in the update expression is invalid for update"


class RefusedField(StrEnum):
    """The request fields that must be strings where given."""

    EXTERNAL_IDENTIFIER = "externalIdentifier"
    CHANNEL = "channel"
    ANONYMOUS_SESSION_ID = "anonymousSessionId"
    USER_STATUS = "userStatus"


class Refusal(Exception):  # noqa: N818 - the field's word; a refusal is an answer, not a fault
    """A till's request breaks a rule: answered 400 `INVALID_REQUEST` with this message."""
