"""CSV formats: the list of tills to enroll, and the resulting tokens. No I/O."""

import csv
from collections.abc import Iterable, Iterator, Sequence

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
    errors: list[str] = []
    for line, found in _rows(text.splitlines()):
        if isinstance(found, str):
            errors.append(f"line {line}: {found}")
        elif found in line_of:
            errors.append(f"line {line}: duplicate of line {line_of[found]}")
        else:
            line_of[found] = line
    if len(errors) > _MAX_ERRORS_SHOWN:
        errors[_MAX_ERRORS_SHOWN:] = [f"and {len(errors) - _MAX_ERRORS_SHOWN} more"]
    if errors or not line_of:
        raise EnrolmentListError("\n  ".join(errors) or "the list is empty below its header")
    return list(line_of)


def _rows(lines: Sequence[str]) -> Iterator[tuple[int, AgentName | str]]:
    """Yield each row's line number with its till or its error.

    Raises `EnrolmentListError` for a wrong header.
    """
    header = "".join(lines[:1]).removeprefix("\ufeff")
    delimiter = ";" if ";" in header else ","
    rows = csv.DictReader([header, *lines[1:]], delimiter=delimiter, strict=True)
    try:
        if not {*_COLUMNS} <= {*(rows.fieldnames or ())}:
            raise EnrolmentListError("line 1: expected a header with store_id,till_id")
        for row in rows:
            yield rows.line_num, _parsed(row)
    except csv.Error as error:
        yield rows.line_num + 1, str(error)


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
