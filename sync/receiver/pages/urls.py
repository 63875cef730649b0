"""What the address of a page asks for, and the address of a page that asks otherwise. No I/O."""

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
    """Return what is asked about the fleet; what makes no sense is as if it were not there."""
    page = query.get("page", "")
    return Question(
        search=query.get("search", "").replace("\0", "").strip()[:_MOST_SEARCHED],
        condition=_one_of(Condition, query.get("state", "")),
        sort=_one_of(Sort, query.get("sort", "")) or Sort.STATE,
        descending=query.get("order") == "down",
        page=_page(page),
    )


def fleet_address(question: Question, lang: str, **changes: object) -> str:
    """Return the address of the fleet's page for this question, but for `changes`."""
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
    """Return the address of what has this name, such as a store's page."""
    return _with(f"/{folder}/{quote(name, safe='')}", {"lang": lang})


def session_address(correlation_id: str, lang: str) -> str:
    """Return the address of a session's page.

    By a query: a browser takes `..` out of a path, however it is written, and an id may be that.
    """
    return _with("/sessions", {"id": correlation_id, "lang": lang})


def history_address(path: str, store_id: str, lang: str) -> str:
    """Return the address of the hours of a store, or of all."""
    return _with(path, {"store": store_id, "lang": lang})


def is_own(target: str) -> bool:
    """Tell whether `target` is an address of ours, to go on to after somebody has signed in."""
    # A browser drops tabs and line ends from an address, and takes a backslash for a slash.
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
