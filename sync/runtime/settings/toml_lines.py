"""Finds the statements of a TOML document, and the line number of each setting.

`tomllib` does not report positions, so this scans the text a second time. It only has to split
statements: the text has already been parsed, so it is valid TOML.
"""

import re
import tomllib
from dataclasses import dataclass
from typing import TypeAlias

SettingPath: TypeAlias = tuple[str, ...]

_BETWEEN_STATEMENTS = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BLANKS = re.compile(r"[ \t]*")
_KEY_PART = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|[A-Za-z0-9_-]+')
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
# A multi-line string may end with up to two extra quotes that are part of its text.
_VALUE_PIECE = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|[\[\]{}\n]"
    r"|[^\"'#\[\]{}\n]+",
    re.DOTALL,
)
_DEEPER = {"[": 1, "{": 1, "]": -1, "}": -1}


def find_lines(text: str) -> dict[SettingPath, int]:
    """Return the line, counted from 1, of the first occurrence of each table and setting.

    Items of inline tables and arrays are not listed: they have the line of their setting.
    `text` must be TOML that `tomllib` accepts.
    """
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.scan()
    return scanner.lines


@dataclass(frozen=True, slots=True)
class Statement:
    """A table header or a setting, with its full path. The value is `text[value_at:value_end]`.

    `end` is the offset after the line in which the statement ends, or the end of the text.
    """

    path: SettingPath
    table: SettingPath
    is_header: bool
    value_at: int
    value_end: int
    end: int


def find_statements(text: str) -> list[Statement]:
    """Return the statements in `text`, TOML with line feeds alone that `tomllib` accepts."""
    scanner = _Scanner(text)
    scanner.scan()
    return scanner.statements


class _Scanner:
    def __init__(self, text: str) -> None:
        self.lines: dict[SettingPath, int] = {}
        self.statements: list[Statement] = []
        self._text = text
        self._at = 0
        self._line = 1
        self._table: SettingPath = ()

    def scan(self) -> None:
        self._take(_BETWEEN_STATEMENTS)
        last = -1
        # Stop if the text is not TOML and the position does not advance: a missing line number
        # is better than an endless loop.
        while last < self._at < len(self._text):
            last, line = self._at, self._line
            if self._text[self._at] == "[":
                self._table = path = self._header()
                value_at = value_end = self._at
                self._skip_value()
                is_header = True
            else:
                path = self._table + self._key()
                self._take(_EQUALS)
                value_at, is_header = self._at, False
                value_end = self._skip_value()
            self._note(path, line)
            self.statements.append(
                Statement(path, self._table, is_header, value_at, value_end, self._at)
            )
            self._take(_BETWEEN_STATEMENTS)

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if not found:
            return ""
        self._at = found.end()
        self._line += found[0].count("\n")
        return found[0]

    def _header(self) -> SettingPath:
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        self._take(_BLANKS)
        key = self._key()
        self._take(_BLANKS)
        self._at += brackets
        return key

    def _key(self) -> SettingPath:
        parts = [_plain(self._take(_KEY_PART))]
        while self._take(_DOT):
            parts.append(_plain(self._take(_KEY_PART)))
        return tuple(parts)

    def _skip_value(self) -> int:
        """Skip to the next line; return the offset after the value, before blanks and comment."""
        depth, end = 0, self._at
        while piece := self._take(_VALUE_PIECE):
            depth += _DEEPER.get(piece, 0)
            if piece == "\n" and depth == 0:
                break
            if not piece.startswith("#") and piece.strip():
                end = self._at - len(piece) + len(piece.rstrip())
        return end

    def _note(self, path: SettingPath, line: int) -> None:
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], line)


def _plain(part: str) -> str:
    if part.startswith('"'):
        return str(tomllib.loads(f"name = {part}")["name"])
    return part.strip("'")
