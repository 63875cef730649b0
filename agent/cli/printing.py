"""Printing named values: a table for a person, plain lines for a pipe."""

import json
import sys
from collections.abc import Mapping

import typer


def flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return nested values under dotted names, in their order; an empty table vanishes."""
    flat: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def print_values(title: str, values: Mapping[str, object]) -> None:
    """Print `values`: on a terminal as a table under `title`, else as `name: value` lines."""
    shown = {_one_line(name): _text(value) for name, value in values.items()}
    if sys.stdout.isatty():
        _print_table(title, shown)
        return
    for name, text in shown.items():
        typer.echo(f"{name}: {text}")


def _print_table(title: str, values: Mapping[str, str]) -> None:
    from rich.console import Console  # noqa: PLC0415 - slow to load, needed on a terminal only
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    table = Table(
        title=title, title_justify="left", title_style="bold", show_header=False, box=None
    )
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in values.items():
        # As Text: a value with square brackets is no markup.
        table.add_row(Text(name), Text(text))
    if values:
        Console().print(table)


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value) or "none"
    if isinstance(value, Mapping):
        return _one_line(json.dumps(value, ensure_ascii=False))
    return _one_line(str(value))


def _one_line(text: str) -> str:
    """Return `text` without anything that would move a terminal's cursor."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
