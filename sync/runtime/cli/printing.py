"""Print values and texts: as tables on a terminal, as plain lines in a pipe.

Everything a command prints passes through here, and is escaped here: names, versions and messages
come from tills, from head office, from files and from any program on a port, and an escape
sequence in them would drive the terminal. The linter forbids other ways of printing.
"""

import json
import logging
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sync.runtime.cli.translation import in_language
from sync.runtime.log_writer import LogWriter
from sync.runtime.printable import printable, printable_json

_CAPITAL = re.compile(r"(?<=[a-z])[A-Z]")
_INDENT = 4
_ERASE_LINE = "\r\x1b[2K"
_displays: list[None] = []


def echo(text: str, *, err: bool = False, bold: bool = False, fg: str | None = None) -> None:
    """Print lines, escaped; `err`: on standard error. Line breaks in a value: see `one_line`."""
    lines = _escaped(text)
    if bold or fg:  # styling appends a reset in any case
        lines = typer.style(lines, bold=bold or None, fg=fg)
    is_displayed = _displays and (sys.stderr if err else sys.stdout).isatty()
    typer.echo(f"{_ERASE_LINE}{lines}" if is_displayed else lines, err=err)


@contextmanager
def sharing_terminal() -> Iterator[None]:
    """While something redraws the last line of the terminal, print above it, not behind it."""
    _displays.append(None)
    try:
        yield
    finally:
        _displays.pop()


def echo_unread(text: str) -> None:
    """Print lines on standard error, escaped; do not wait for a reader who has stopped."""
    try:
        writer = LogWriter(sys.stderr.fileno())
    except OSError:  # a stream in memory
        echo(text, err=True)
        return
    writer.setFormatter(logging.Formatter("%(message)s"))
    writer.handle(logging.makeLogRecord({"msg": _escaped(text)}))
    writer.flush()
    writer.close()


def _escaped(text: str) -> str:
    return "\n".join(printable(line) for line in text.split("\n"))


def say(text: str, *, err: bool = False, bold: bool = False, fg: str | None = None) -> None:
    """Print lines as `echo` does, in the language of the locale."""
    echo(in_language(text, err=err), err=err, bold=bold, fg=fg)


def label(text: str) -> str:
    """Return the name of a column or state: in the language of the locale on a terminal."""
    return in_language(text) if sys.stdout.isatty() else text


def echo_json(value: object, indent: int | None = None) -> None:
    """Print a value as JSON, in a form that is harmless on a terminal and equal to a parser."""
    separators = (",", ": " if indent else ":")
    echo_json_text(json.dumps(value, ensure_ascii=False, indent=indent, separators=separators))


def echo_json_text(text: str) -> None:
    """Print JSON text, escaped as by `echo_json`."""
    typer.echo(printable_json(text))


def echo_fields(values: Iterable[object]) -> None:
    """Print values on one line, separated by tabs."""
    typer.echo("\t".join(map(one_line, values)))


def write_json(part: bytes) -> None:
    """Write part of a JSON document, escaped as by `echo_json`; it may end anywhere in it."""
    sys.stdout.buffer.write(printable_json(part.decode()).encode())


def flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return nested values under dotted names, in order; empty mappings are dropped."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def print_values(title: str, values: Mapping[str, object]) -> None:
    """Print `values` as a table under `title` on a terminal, else as `name: value` lines."""
    lines = [(one_line(name), one_line(value)) for name, value in values.items()]
    if not sys.stdout.isatty():
        for name, text in lines:
            echo(f"{name}: {text}")
    elif lines:
        # Rich would wrap a table title at the width of the table.
        echo(title, bold=True)
        print_table([[Text(name), Text(text)] for name, text in lines])


def print_entries(title: str, entries: Sequence[Mapping[str, object]]) -> None:
    """Print entries with the same keys; in a pipe, one line each, separated by tabs.

    On a terminal the first two values of an entry, which fit any width, share a line; the
    others follow below it, without those that are missing. No line breaks within a value.
    """
    if not sys.stdout.isatty():
        for entry in entries:
            echo_fields(entry.values())
        return
    console = Console()
    if title:
        console.print(Text(title, style="bold"))
    for entry in entries:
        first, second = map(one_line, list(entry.values())[:2])
        console.print(Text.assemble((first, "bold"), f"  {second}"), soft_wrap=True)
        others = flatten({name: entry[name] for name in list(entry)[2:]})
        named = [f"{_in_words(n)}: {one_line(v)}" for n, v in others.items() if v not in {None, ""}]
        below = "\n".join(_lines_of(named, console.width - _INDENT))
        console.print(Padding(Text(below, overflow="fold"), (0, 0, 0, _INDENT)))


def _in_words(name: str) -> str:
    """Return the last part of a dotted name in camel case as words: `correlation id`."""
    return _CAPITAL.sub(lambda found: f" {found[0].lower()}", name.rpartition(".")[2])


def _lines_of(values: Iterable[str], width: int) -> list[str]:
    """Return the values, separated by commas, in lines that break between values only."""
    lines: list[str] = []
    for value in values:
        if lines and len(f"{lines[-1]}, {value}") <= width:
            lines[-1] += f", {value}"
        else:
            lines.append(value)
    return lines


def print_table(rows: Sequence[Sequence[Text]]) -> None:
    """Print rows on a terminal; only the last column wraps.

    `Text` does not interpret square brackets as markup.
    """
    table = Table(show_header=False, box=None)
    for _ in rows[0][:-1]:
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def print_wrapped(text: str, indent: str = "") -> None:
    """Print `text` as one line in a pipe, wrapped at word boundaries on a terminal.

    In the language of the locale.
    """
    text = printable(in_language(text))
    if sys.stdout.isatty():
        text = textwrap.fill(
            text,
            shutil.get_terminal_size().columns,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    echo(text)


def count(number: int, noun: str) -> str:
    """Return `1 fault`, `2 faults`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def one_line(value: object) -> str:
    """Return the printed form of `value`, with line breaks and control characters escaped."""
    match value:
        case None:
            text = "-"
        case bool():
            text = "yes" if value else "no"
        case list() | tuple():
            text = ", ".join(one_line(item) for item in value) or "none"
        case Mapping():
            text = json.dumps(value, ensure_ascii=False)
        case _:
            text = str(value)
    return printable(text)
