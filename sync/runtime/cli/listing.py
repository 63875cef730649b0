"""Prints lists of any length as they are read: as JSON, as lines in a pipe, for people."""

import sys
from collections.abc import Mapping
from typing import Annotated

import msgspec
import typer

from sync.runtime.cli.printing import echo_fields, print_entries, write_json

# Every command that lists has it. One JSON document; members in camelCase as in `/v1`, times in
# RFC 3339, UTC.
JsonOption = Annotated[bool, typer.Option("--json", help="Print all as one JSON document.")]


class Listing:
    """Prints entries with the same members, each when it is added; memory stays bounded.

    As JSON it is `{"name": [...]}`, with the members of `head` before it; without a name it is an
    array. In a pipe it is one line for each entry, separated by tabs, under a heading. A document
    cut short is invalid JSON. `title` names the entries in sentences.
    """

    def __init__(
        self,
        name: str | None,
        *,
        as_json: bool,
        title: str = "",
        head: Mapping[str, object] | None = None,
    ) -> None:
        self.title = title or name or "entries"
        self._as_json = as_json
        self._number = 0
        self._opening, self._closing = b"[", b"]\n"
        if name is not None:
            whole = msgspec.json.encode({**(head or {}), name: []})
            self._opening, self._closing = whole.removesuffix(b"]}"), b"]}\n"

    def add(self, entry: Mapping[str, object]) -> None:
        """Print an entry."""
        if self._as_json:
            write_json((b",\n" if self._number else self._opening) + msgspec.json.encode(entry))
        elif sys.stdout.isatty():
            print_entries("", [entry])
        else:
            if not self._number:
                echo_fields(entry)
            echo_fields(entry.values())
        self._number += 1

    def end(self) -> int:
        """Print the end of the document; return the number of entries."""
        if self._as_json:
            write_json((b"" if self._number else self._opening) + self._closing)
        sys.stdout.flush()
        return self._number
