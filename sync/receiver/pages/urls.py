"""URLs of the pages: parses query strings, builds links. No I/O."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar
from urllib.parse import quote, urlencode

from sync.receiver.reports.conditions import Condition
from sync.receiver.reports.fleet import FleetQuery, Sort

_MAX_PAGES = 10**6
_MAX_SEARCH_LENGTH = 200
_Enum = TypeVar("_Enum", bound=StrEnum)


def parse_fleet_query(query: Mapping[str, str]) -> FleetQuery:
    """Parse the fleet page's query string; invalid values are ignored."""
    return FleetQuery(
        search=query.get("search", "").replace("\0", "").strip()[:_MAX_SEARCH_LENGTH],
        condition=_member(Condition, query.get("state", "")),
        sort=_member(Sort, query.get("sort", "")) or Sort.STATE,
        descending=query.get("order") == "down",
        page=_page(query.get("page", "")),
    )


def fleet_url(query: FleetQuery, lang: str, **changes: object) -> str:
    """Return the fleet page's URL for this query with `changes` applied."""
    parameters = {
        "search": query.search,
        "state": query.condition or "",
        "sort": "" if query.sort is Sort.STATE else query.sort,
        "order": "down" if query.descending else "",
        "page": "",
        "lang": lang,
    }
    return _url("/", parameters | changes)


def store_url(store_id: str, lang: str) -> str:
    """Return the URL of a store's page."""
    return _url(f"/stores/{quote(store_id, safe='')}", {"lang": lang})


def session_url(correlation_id: str, lang: str) -> str:
    """Return the URL of a session's page.

    The id is in the query string: browsers normalize `..` in a path, even percent-encoded, and an
    id can be just that.
    """
    return _url("/sessions", {"id": correlation_id, "lang": lang})


def history_url(path: str, store_id: str, lang: str) -> str:
    """Return the URL of the history page or its JSON, of one store or of all."""
    return _url(path, {"store": store_id, "lang": lang})


def is_local(target: str) -> bool:
    """Return whether `target` is a local path: prevents open redirects after sign-in."""
    # Browsers strip tabs and newlines from URLs, and treat a backslash as a slash.
    printable = all("!" <= character <= "~" for character in target)
    is_path = target.startswith("/") and not target.startswith("//")
    return is_path and printable and "\\" not in target


def _url(path: str, parameters: Mapping[str, object]) -> str:
    query = urlencode({name: str(value) for name, value in parameters.items() if value})
    return f"{path}?{query}" if query else path


def _page(text: str) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_PAGES))
    return max(1, int(text)) if is_number else 1


def _member(enum: type[_Enum], text: str) -> _Enum | None:
    return next((member for member in enum if member == text), None)
