"""Prints lists of any length as they are read: as JSON, as lines in a pipe, for people."""

import sys
from collections.abc import AsyncIterator

import msgspec

from sync.runtime.cli.printing import echo_fields, print_entries, write_json


async def print_listing(
    name: str, entries: AsyncIterator[dict[str, object]], *, as_json: bool
) -> int:
    """Print entries with the same members; return their number.

    As JSON it is `{"name": [...]}`; in a pipe one line each, separated by tabs, under a heading.
    """
    number = 0
    separator = msgspec.json.encode(name).join((b"{", b":["))
    async for entry in entries:
        if as_json:
            write_json(separator + msgspec.json.encode(entry))
            separator = b",\n"
        elif sys.stdout.isatty():
            print_entries("", [entry])
        else:
            if not number:
                echo_fields(entry)
            echo_fields(entry.values())
        number += 1
    if as_json:
        write_json((b"" if number else separator) + b"]}\n")
    sys.stdout.flush()
    return number
