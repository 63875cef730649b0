"""CSV formats: the list of tills to enroll, and the resulting tokens. No I/O."""

import csv
from collections.abc import Iterable, Iterator
from itertools import chain

from sync.receiver.auth.tokens import AgentName
from sync.runtime.settings.types import check_name

_COLUMNS = ("store_id", "till_id")
_MAX_ERRORS_SHOWN = 10


class EnrolmentListError(ValueError):
    """Invalid list; the message names each bad line and its error."""


def parse_list(text: str) -> list[AgentName]:
    """Parse the list; return the tills in its order. Duplicates are errors.

    The header must contain `store_id` and `till_id`; other columns are ignored. A spreadsheet's
    semicolons are accepted as separators. Raises `EnrolmentListError`.
    """
    line_of: dict[AgentName, int] = {}
    errors = ListErrors()
    for line, found in read_rows(text.splitlines()):
        if isinstance(found, str):
            errors.add(line, found)
        elif found in line_of:
            errors.add(line, f"duplicate of line {line_of[found]}")
        else:
            line_of[found] = line
    errors.raise_if_any(tills=len(line_of))
    return list(line_of)


def read_rows(lines: Iterable[str]) -> Iterator[tuple[int, AgentName | str]]:
    """Yield each row's line number with its till or its error, reading no further than needed.

    Raises `EnrolmentListError` for a wrong header; does not look for duplicates.
    """
    lines = iter(lines)
    header = next(lines, "").removeprefix("\ufeff")
    delimiter = ";" if ";" in header else ","
    rows = csv.DictReader(chain([header], lines), delimiter=delimiter, strict=True)
    try:
        if not {*_COLUMNS} <= {*(rows.fieldnames or ())}:
            raise EnrolmentListError("line 1: expected a header with store_id,till_id")
        for row in rows:
            yield rows.line_num, _parsed(row)
    except csv.Error as error:
        yield rows.line_num + 1, str(error)


class ListErrors:
    """The first errors of a list and the number of all."""

    def __init__(self) -> None:
        self._shown: list[str] = []
        self._count = 0

    def add(self, line: int, error: str) -> None:
        """Add the error of a line."""
        self._count += 1
        if self._count <= _MAX_ERRORS_SHOWN:
            self._shown.append(f"line {line}: {error}")

    def raise_if_any(self, *, tills: int) -> None:
        """Raise `EnrolmentListError` with the errors, or because there are no tills."""
        if not self._count and not tills:
            raise EnrolmentListError("the list is empty below its header")
        if self._count:
            more = self._count - len(self._shown)
            shown = [*self._shown, f"and {more} more"] if more else self._shown
            raise EnrolmentListError("\n  ".join(shown))


def format_tokens(tokens: Iterable[tuple[AgentName, str]]) -> Iterator[str]:
    """Yield the lines of the result. No field needs quoting."""
    yield "store_id,till_id,token\n"
    for name, token in tokens:
        yield f"{name.store_id},{name.till_id},{token}\n"


def _parsed(row: dict[str, str | None]) -> AgentName | str:
    try:
        return AgentName(*(_checked(column, row.get(column)) for column in _COLUMNS))
    except ValueError as error:
        return str(error)


def _checked(column: str, text: str | None) -> str:
    try:
        return check_name((text or "").strip())
    except ValueError as error:
        raise ValueError(f"{column}: {error}") from None
