"""URLs of the pages: parses query strings, builds links. No I/O."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar
from urllib.parse import quote, urlencode

from sync.receiver.reports.conditions import Condition
from sync.receiver.reports.fleet import Question, Sort

_MOST_PAGES = 10**6
_MOST_SEARCHED = 200
_Known = TypeVar("_Known", bound=StrEnum)


def read_question(query: Mapping[str, str]) -> Question:
    """Parse the fleet page's query string; invalid values are ignored."""
    page = query.get("page", "")
    return Question(
        search=query.get("search", "").replace("\0", "").strip()[:_MOST_SEARCHED],
        condition=_one_of(Condition, query.get("state", "")),
        sort=_one_of(Sort, query.get("sort", "")) or Sort.STATE,
        descending=query.get("order") == "down",
        page=_page(page),
    )


def fleet_address(question: Question, lang: str, **changes: object) -> str:
    """Return the fleet page's URL for this query with `changes` applied."""
    asked = {
        "search": question.search,
        "state": question.condition or "",
        "sort": "" if question.sort is Sort.STATE else question.sort,
        "order": "down" if question.descending else "",
        "page": "",
        "lang": lang,
    }
    return _with("/", asked | changes)


def address(folder: str, name: str, lang: str) -> str:
    """Return the URL of a named resource, such as a store's page."""
    return _with(f"/{folder}/{quote(name, safe='')}", {"lang": lang})


def session_address(correlation_id: str, lang: str) -> str:
    """Return the URL of a session's page.

    The id is in the query string: browsers normalize `..` in a path, even percent-encoded, and an
    id can be just that.
    """
    return _with("/sessions", {"id": correlation_id, "lang": lang})


def history_address(path: str, store_id: str, lang: str) -> str:
    """Return the URL of the history page or its JSON, of one store or of all."""
    return _with(path, {"store": store_id, "lang": lang})


def is_own(target: str) -> bool:
    """Return whether `target` is a local path: prevents open redirects after sign-in."""
    # Browsers strip tabs and newlines from URLs, and treat a backslash as a slash.
    printable = all("!" <= character <= "~" for character in target)
    return (
        target.startswith("/") and not target.startswith("//") and printable and "\\" not in target
    )


def _with(path: str, query: Mapping[str, object]) -> str:
    asked = urlencode({name: str(value) for name, value in query.items() if value})
    return f"{path}?{asked}" if asked else path


def _page(written: str) -> int:
    is_number = written.isascii() and written.isdigit() and len(written) <= len(str(_MOST_PAGES))
    return max(1, int(written)) if is_number else 1


def _one_of(kind: type[_Known], written: str) -> _Known | None:
    return next((known for known in kind if known == written), None)
