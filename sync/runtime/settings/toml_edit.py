"""Sets texts in a TOML document in place: comments, order and all other settings stay as they are.

Each edit is proved: the result is parsed, and must equal the old document with that one setting
changed. An edit that cannot be proved is not made, so that an unusual file is refused, not damaged.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from sync.runtime.settings.toml_lines import SettingPath, Statement, find_statements


class TomlEditError(ValueError):
    """A setting cannot be written in place; the message names it."""


def set_texts(text: str, values: Mapping[SettingPath, str]) -> str:
    """Return the document with `values` set. Idempotent. Raises `TomlEditError`.

    `text` must be TOML that `tomllib` accepts, apart from a byte order mark.
    """
    mark, text = text[: text.startswith("\ufeff")], text.removeprefix("\ufeff")
    newline = "\r\n" if "\r\n" in text else "\n"
    text = text.replace("\r\n", "\n")
    for path, value in values.items():
        text = _set_text(text, path, value)
    return mark + text.replace("\n", newline)


def _set_text(text: str, path: SettingPath, value: str) -> str:
    wanted = _with_value(tomllib.loads(text), path, value)
    for edited in _edits(text, path, json.dumps(value, ensure_ascii=False)):
        try:
            if wanted is not None and tomllib.loads(edited) == wanted:
                return edited
        except tomllib.TOMLDecodeError:
            continue
    raise TomlEditError(f"{'.'.join(path)} cannot be set in this file: write its table as [table]")


def _with_value(document: dict[str, Any], path: SettingPath, value: str) -> dict[str, Any] | None:
    changed = table = deepcopy(document)
    for name in path[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            return None
    table[path[-1]] = value
    return changed


def _edits(text: str, path: SettingPath, value: str) -> Iterator[str]:
    """Yield the document with the setting written in each place where it may belong."""
    statements = find_statements(text)
    for one in statements:
        if not one.is_header and one.path == path:
            yield text[: one.value_at] + value + text[one.value_end :]
            return
    for at, name in _places(text, statements, path):
        before, after = text[:at], text[at:]
        yield f"{before}{_line_end(before)}{name} = {value}\n{after}"
    gap = "\n" if text.strip() else ""
    yield f"{text}{_line_end(text)}{gap}[{'.'.join(path[:-1])}]\n{path[-1]} = {value}\n"


def _places(text: str, statements: list[Statement], path: SettingPath) -> Iterator[tuple[int, str]]:
    """Yield the offsets and names under which the setting may be written."""
    in_table = [one for one in statements if one.table == path[:-1]]
    if in_table:
        example = _end_of_example(text, in_table, path[-1])
        yield example or in_table[-1].end, path[-1]
    # A table that is made of dotted keys: beside the last of them.
    for one in reversed(statements):
        if not one.is_header and one.path[: len(path) - 1] == path[:-1]:
            yield one.end, ".".join(path[len(one.table) :])


def _end_of_example(text: str, in_table: list[Statement], name: str) -> int | None:
    """Return the offset after a commented line that sets `name` in the table; None without one."""
    after = re.compile(r"^[ \t]*\[", re.MULTILINE).search(text, in_table[-1].end)
    end = after.start() if after else len(text)
    example = re.compile(rf"^[ \t]*#[ \t]*{re.escape(name)}[ \t]*=.*(\n|\Z)", re.MULTILINE)
    found = example.search(text, in_table[0].end, end)
    return found.end() if found else None


def _line_end(before: str) -> str:
    return "\n" if before and not before.endswith("\n") else ""
