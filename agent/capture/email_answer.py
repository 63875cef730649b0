"""Rules of *set e-mail* (`docs/till-api.md`)."""

import re

import email_validator
import msgspec

from agent.capture.json_object import parse_object
from agent.capture.refusals import ADDRESS_NOT_VALID, ADDRESS_REQUIRED, Refusal
from agent.facts import EmailAnswered, EmailStatus
from sync.protocol.json_object import ADDRESS, Json, without_members
from sync.protocol.wire import MAX_ADDRESS_CODE_POINTS

_STATUSES = {status.value: status for status in EmailStatus}
# Fast path: the validator accepts every address of this shape, at fifty times the cost. All
# other addresses are passed to the validator.
_PLAIN_ADDRESS = re.compile(
    r"(?=[^@]{1,64}@.{4,180}$)[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*"
    r"@(?:[A-Za-z0-9](?:-?[A-Za-z0-9]){0,30}\.)+[A-Za-z]{2,60}",
    re.ASCII,
)
# Accept the special-use domains (test, private networks) that the library rejects by default:
# a customer may have one (`docs/till-api.md`, address syntax). Clearing the list is the
# documented way to allow them.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


def parse_email_answer(correlation_id: str, body: bytes, *, check_syntax: bool) -> EmailAnswered:
    """Parse the request body of an e-mail answer for the session `correlation_id`.

    Does not check that the session exists: errors in the body take precedence. Raises `Refusal`
    with the documented message.
    """
    members = parse_object(body)
    status = _read_status(members.get("status"))
    address = _read_address(members.get(ADDRESS), status, check_syntax=check_syntax)
    kept = without_members(body, ADDRESS) if ADDRESS in members else body
    return EmailAnswered(correlation_id, status, address, kept)


def _read_status(value: Json) -> EmailStatus:
    if isinstance(value, str):
        if value in _STATUSES:
            return _STATUSES[value]
        shown = value
    else:
        shown = msgspec.json.encode(value).decode()
    raise Refusal(f"Email capture option {shown} is not supported!")


def _read_address(value: Json, status: EmailStatus, *, check_syntax: bool) -> str | None:
    given = value is not None and not (isinstance(value, str) and not value.strip())
    if status is not EmailStatus.ACCEPTED:
        if given:
            raise Refusal(f"Email address not expected when status is {status}")
        return None
    if not given:
        raise Refusal(ADDRESS_REQUIRED)
    if not isinstance(value, str) or "\0" in value:
        raise Refusal(ADDRESS_NOT_VALID)
    address = value.strip()
    if len(address) > MAX_ADDRESS_CODE_POINTS:
        raise Refusal(ADDRESS_NOT_VALID)
    if check_syntax and not is_email_address(address):
        raise Refusal(ADDRESS_NOT_VALID)
    return address


def is_email_address(address: str) -> bool:
    """Return whether `address` is valid (`docs/till-api.md`, address syntax)."""
    return _PLAIN_ADDRESS.fullmatch(address) is not None or _validator_accepts(address)


def _validator_accepts(address: str) -> bool:
    try:
        email_validator.validate_email(
            address,
            check_deliverability=False,
            allow_smtputf8=True,
            allow_empty_local=False,
            allow_quoted_local=False,
            allow_domain_literal=False,
            allow_display_name=False,
            globally_deliverable=True,
        )
    except email_validator.EmailNotValidError:
        return False
    return True
