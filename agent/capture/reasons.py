"""Causes of refusals in words, for `Loyalty-Reason` and the log. They never quote a value."""

import re
from collections.abc import Mapping
from difflib import get_close_matches

from sync.protocol.json_object import Json, json_kind

NO_SESSION = (
    "no session with this correlation id is known here: start it, or start it again with the "
    "same content, then answer it"
)
SESSION_CLOSED = "the session was started with userStatus CLOSED: it takes no e-mail answer"
_CONTROL_CHARACTER = re.compile("[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Names of members are the till's own words: one in another form may be an address.
_PLAIN_NAME = re.compile("[A-Za-z][A-Za-z0-9_]{0,39}", re.ASCII)
_MAX_NAMED = 3
# As near as `email` is to `emailaddress`.
_NEAR = 0.58
_ODD_IN_LOCAL = re.compile(r"[^A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]|^$|.{65}")


def fault_of_id(value: object, name: str, most: int) -> str:
    """Return why `value` is not a valid correlation id; `name` is how the sentence calls it."""
    if not isinstance(value, str):
        return f"{name} is {json_kind(value)}, not a string"
    if _SURROGATE.search(value):
        return f"{name} is not percent-encoded UTF-8"
    if control := _CONTROL_CHARACTER.search(value):
        return f"{name} has the control character U+{ord(control[0]):04X}"
    if len(value) > most:
        return f"{name} has {len(value)} characters, at most {most} are allowed"
    return f"{name} is {_emptiness(value) if not value.strip() else '. or ..'}"


def fault_of_status(members: Mapping[str, Json], allowed: tuple[str, ...]) -> str:
    """Return why the status of an e-mail answer is none of those allowed."""
    value = members.get("status")
    if near := "status" not in members and _near_name(members, "status"):
        return f"status is missing{near}"
    if "status" not in members:
        fault = "missing"
    elif not isinstance(value, str):
        fault = json_kind(value)
    else:
        is_near = value.strip().lower() in allowed
        fault = "compared exactly" if is_near else "another text"
    return f"status is {fault}: use {', '.join(allowed[:-1])} or {allowed[-1]}"


def absence(members: Mapping[str, Json], name: str) -> str:
    """Return in which way the member `name` is absent: missing, null, empty or blank."""
    if name not in members:
        return f"{name} is missing{_near_name(members, name)}"
    value = members[name]
    return f"{name} is {_emptiness(value) if isinstance(value, str) else json_kind(value)}"


def _near_name(members: Mapping[str, Json], name: str) -> str:
    """Return the member that may be meant by `name`, as an addition to its absence."""
    plain = {_letters(one): one for one in members if _PLAIN_NAME.fullmatch(one)}
    near = get_close_matches(_letters(name), plain, 1, _NEAR)
    return f": {plain[near[0]]} is given, and names are compared exactly" if near else ""


def _letters(name: str) -> str:
    return name.replace("_", "").lower()


def fault_of_address(address: str) -> str:
    """Return why the syntax of an e-mail address is refused."""
    local, at, domain = address.rpartition("@")
    if not at:
        return "emailAddress has no @"
    if "@" in local and not local.startswith('"'):
        return "emailAddress has more than one @"
    if domain.startswith("["):
        return "emailAddress has an IP address as its domain"
    if "." not in domain:
        return "emailAddress has no dot in its domain"
    if local.startswith('"'):
        return "emailAddress has quotation marks before the @"
    return f"emailAddress breaks a rule of address syntax {_side(local)} the @"


def used_id(at: str, others: tuple[str, ...]) -> str:
    """Return the cause of a conflict with the session that has the id; `others` differ."""
    named = [name for name in others if _PLAIN_NAME.fullmatch(name.partition(" ")[0])][:_MAX_NAMED]
    more = len(others) - len(named)
    if not named:
        return f"this correlation id was used {at} with other content"
    listed = [*named, f"{more} more"] if more else named
    difference = ", ".join(listed[:-1]) + " and " + listed[-1] if len(listed) > 1 else listed[0]
    return f"this correlation id was used {at} with another {difference}"


def _emptiness(text: str) -> str:
    return "blank" if text else "empty"


def _side(local: str) -> str:
    dots = local.startswith(".") or local.endswith(".") or ".." in local
    return "before" if dots or not local.isascii() or _ODD_IN_LOCAL.search(local) else "after"
