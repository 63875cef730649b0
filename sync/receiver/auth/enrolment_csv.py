"""CSV formats: the list of tills to enroll, and the resulting tokens. No I/O."""

import csv
from collections.abc import Iterable, Iterator

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
    lines = text.removeprefix("\ufeff").splitlines()
    header = lines[0] if lines else ""
    rows = csv.DictReader(lines, delimiter=";" if ";" in header else ",", strict=True)
    line_of: dict[AgentName, int] = {}
    errors = []
    try:
        if not {*_COLUMNS} <= {*(rows.fieldnames or ())}:
            raise EnrolmentListError("line 1: expected a header with store_id,till_id")
        for row in rows:
            try:
                _add(line_of, row, rows.line_num)
            except ValueError as error:
                errors.append(f"line {rows.line_num}: {error}")
    except csv.Error as error:
        errors.append(f"line {rows.line_num + 1}: {error}")
    if not errors and not line_of:
        errors = ["the list is empty below its header"]
    if errors:
        more = len(errors) - _MAX_ERRORS_SHOWN
        shown = errors[:_MAX_ERRORS_SHOWN] + ([f"and {more} more"] if more > 0 else [])
        raise EnrolmentListError("\n  ".join(shown))
    return list(line_of)


def format_tokens(tokens: Iterable[tuple[AgentName, str]]) -> Iterator[str]:
    """Yield the lines of the result. No field needs quoting."""
    yield "store_id,till_id,token\n"
    for name, token in tokens:
        yield f"{name.store_id},{name.till_id},{token}\n"


def _add(line_of: dict[AgentName, int], row: dict[str, str | None], line: int) -> None:
    name = AgentName(*(_checked(column, row.get(column)) for column in _COLUMNS))
    if name in line_of:
        raise ValueError(f"duplicate of line {line_of[name]}")
    line_of[name] = line


def _checked(column: str, text: str | None) -> str:
    try:
        return check_name((text or "").strip())
    except ValueError as error:
        raise ValueError(f"{column}: {error}") from None
