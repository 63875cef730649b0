"""Finding the line on which a TOML document gives each setting."""

import re
import tomllib
from typing import TypeAlias

SettingPath: TypeAlias = tuple[str, ...]

_BETWEEN_STATEMENTS = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BLANKS = re.compile(r"[ \t]*")
_KEY_PART = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|[A-Za-z0-9_-]+')
_DOT = re.compile(r"[ \t]*\.[ \t]*")
# The end of a multi-line string may have up to two more quotes, which belong to the text.
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
    """Return the line, counted from 1, on which each table and setting of `text` is first given.

    What stands inside an inline table or an array is not listed: it has the line of the
    setting it belongs to. `text` must be TOML that `tomllib` accepts.
    """
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.scan()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.lines: dict[SettingPath, int] = {}
        self._text = text
        self._at = 0
        self._line = 1
        self._table: SettingPath = ()

    def scan(self) -> None:
        self._take(_BETWEEN_STATEMENTS)
        last = -1
        # Text that is no TOML could stop the scanner; a line not found is better than no end.
        while last < self._at < len(self._text):
            last, line = self._at, self._line
            if self._text[self._at] == "[":
                self._table = self._header()
                self._note(self._table, line)
            else:
                self._note(self._table + self._key(), line)
                self._skip_value()
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

    def _skip_value(self) -> None:
        depth = 0
        while piece := self._take(_VALUE_PIECE):
            depth += _DEEPER.get(piece, 0)
            if piece == "\n" and depth == 0:
                return

    def _note(self, path: SettingPath, line: int) -> None:
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], line)


def _plain(part: str) -> str:
    if part.startswith('"'):
        return str(tomllib.loads(f"name = {part}")["name"])
    return part.strip("'")
