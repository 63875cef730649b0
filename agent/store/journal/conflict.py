"""Names what differs between two session starts with one correlation id."""

import msgspec

from agent.facts import SessionStarted
from sync.protocol.json_equality import json_equal
from sync.protocol.json_object import Json, NotAnObject, read_object

QUERY_LOCALE = "locale in the query string"


def other_members(
    body: bytes, query_locale: str | None, started: SessionStarted
) -> tuple[str, ...]:
    """Return the names of the members in which `started` differs from an earlier `body`."""
    try:
        earlier, given = read_object(body), read_object(started.body)
    except NotAnObject:
        return ()
    others = [name for name in earlier | given if not _is_equal(name, earlier, given)]
    if query_locale != started.query_locale:
        others.append(QUERY_LOCALE)
    return tuple(others)


def _is_equal(name: str, one: dict[str, Json], other: dict[str, Json]) -> bool:
    if name not in one or name not in other:
        return False
    return json_equal(msgspec.json.encode(one[name]), msgspec.json.encode(other[name]))
