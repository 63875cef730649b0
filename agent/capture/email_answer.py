"""Rules of *set e-mail* (`docs/till-api.md`)."""

import re
from collections.abc import Mapping

import email_validator
import msgspec

from agent.capture.reasons import absence, fault_of_address, fault_of_status
from agent.capture.refusals import ADDRESS_NOT_VALID, ADDRESS_REQUIRED, Refusal, parse_object
from agent.facts import EmailAnswered, EmailStatus
from sync.protocol.json_object import ADDRESS, Json, json_kind, without_members
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
    status = _read_status(members)
    address = _read_address(members, status, check_syntax=check_syntax)
    kept = without_members(body, ADDRESS) if ADDRESS in members else body
    return EmailAnswered(correlation_id, status, address, kept)


def _read_status(members: Mapping[str, Json]) -> EmailStatus:
    value = members.get("status")
    if isinstance(value, str):
        if value in _STATUSES:
            return _STATUSES[value]
        shown = value
    else:
        shown = msgspec.json.encode(value).decode()
    reason = fault_of_status(members, tuple(sorted(_STATUSES)))
    raise Refusal(f"Email capture option {shown} is not supported!", reason)


def _read_address(
    members: Mapping[str, Json], status: EmailStatus, *, check_syntax: bool
) -> str | None:
    value = members.get(ADDRESS)
    given = value is not None and not (isinstance(value, str) and not value.strip())
    if status is not EmailStatus.ACCEPTED:
        if given:
            raise Refusal(
                f"Email address not expected when status is {status}",
                f"{ADDRESS} is given, and status is {status}",
            )
        return None
    if not given:
        raise Refusal(ADDRESS_REQUIRED, absence(members, ADDRESS))
    if not isinstance(value, str):
        raise Refusal(ADDRESS_NOT_VALID, f"{ADDRESS} is {json_kind(value)}, not a string")
    return _valid_address(value.strip(), check_syntax=check_syntax)


def _valid_address(address: str, *, check_syntax: bool) -> str:
    if "\0" in address:
        raise Refusal(ADDRESS_NOT_VALID, f"{ADDRESS} has a NUL character")
    if len(address) > MAX_ADDRESS_CODE_POINTS:
        most = MAX_ADDRESS_CODE_POINTS
        reason = f"{ADDRESS} has {len(address)} characters, at most {most} are allowed"
        raise Refusal(ADDRESS_NOT_VALID, reason)
    if check_syntax and not is_email_address(address):
        raise Refusal(ADDRESS_NOT_VALID, fault_of_address(address))
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
