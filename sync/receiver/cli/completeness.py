"""`loyalty-hq completeness`: report missing captures per till and epoch."""

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from sync.receiver.cli.arguments import (
    NAME,
    ConfigFile,
    ExitCode,
    checked_name,
    settings_of,
    unusable_database_ends_it,
)

if TYPE_CHECKING:
    from sync.receiver.config import Settings
    from sync.receiver.reports.completeness import EpochCompleteness
    from sync.receiver.reports.completeness_report import Sums

_KEY = "{:<12} {:<12} {:<36} {:>9}"
_ROW = _KEY + "  {:<11}  {}"
_INDENT = " " * 4


def completeness(
    context: typer.Context,
    config: ConfigFile = None,
    *,
    store: Annotated[
        str | None, typer.Option(metavar="ID", help="This store alone, complete or not.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every epoch, as JSON.")] = False,
) -> None:
    """Report missing captures by sequence number.

    Exit code 0 if every capture known to exist is here, accepted or rejected; 1 if captures are
    outstanding, missing or permanently lost; 2 if the audit failed.
    """
    settings = settings_of(context, config)
    if store is not None:
        checked_name("--store", store)
    from sync.receiver.operations import UnknownStoreError  # noqa: PLC0415 - keeps --help quick

    try:
        with unusable_database_ends_it(settings, ExitCode.WRONG_USE):
            sums = _as_json(settings, store) if as_json else _as_table(settings, store)
    except UnknownStoreError:
        typer.echo(f"{NAME}: no till of store {store} was ever enrolled or heard of", err=True)
        raise typer.Exit(ExitCode.WRONG_USE) from None
    raise typer.Exit(ExitCode.FINE if sums.complete else ExitCode.TROUBLE)


def _as_json(settings: "Settings", store: str | None) -> "Sums":
    from sync.receiver.operations import audit_as_json  # noqa: PLC0415 - as above

    sums = audit_as_json(settings, store, sys.stdout.buffer.write)
    sys.stdout.buffer.flush()
    return sums


def _as_table(settings: "Settings", store: str | None) -> "Sums":
    """Print incomplete epochs and the totals; for a given store, all epochs."""
    from sync.receiver.operations import audit_each  # noqa: PLC0415 - as above

    heading = ("STORE", "TILL", "EPOCH", "COMPLETE")
    if sys.stdout.isatty():
        typer.echo(_KEY.format(*heading))
    else:
        typer.echo(_ROW.format(*heading, "WHAT", "NUMBERS"))
    sums = audit_each(settings, store, lambda epoch: _show(epoch, always=store is not None))
    counted = (
        f"{sums.missing} missing, {sums.gaps} gone for good, {sums.outstanding} outstanding, "
        f"{sums.rejected} refused"
    )
    lost = f"; {sums.unlisted} epochs have lost their row in agents" if sums.unlisted else ""
    verdict = f"{sums.incomplete} not complete"
    if sums.complete:
        verdict = "All is here" if sums.epochs else "Nothing has ever come"
    silent = f"; silent tills, of whose newer captures nothing is known: {sums.silent}"
    _say(f"{verdict}, of {sums.epochs} epochs: {counted}{lost}{silent if sums.silent else ''}.")
    return sums


def _show(epoch: "EpochCompleteness", *, always: bool) -> None:
    from sync.receiver.reports.completeness_report import written  # noqa: PLC0415 - as above

    kinds = {
        "missing": epoch.missing,
        "gone": epoch.gaps,
        "outstanding": epoch.outstanding,
        "refused": epoch.rejected,
    }
    lines = [(what, written(numbers)) for what, numbers in kinds.items() if numbers]
    if not epoch.listed:
        lines.insert(0, ("not listed", "its row in agents is gone"))
    if not lines and always:
        lines.append(("-", ""))
    key = (epoch.store_id, epoch.till_id, _printable(epoch.epoch), epoch.complete_through)
    if not sys.stdout.isatty():
        for what, numbers in lines:
            typer.echo(_ROW.format(*key, what, numbers).rstrip())
    elif lines:
        typer.echo(_KEY.format(*key))
        for what, numbers in lines:
            if numbers:
                _say(f"{what}: {numbers}", _INDENT)


def _say(text: str, indent: str = "") -> None:
    """Print `text` as one line in a pipe, wrapped at word boundaries on a terminal."""
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        text = textwrap.fill(
            text,
            width,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    typer.echo(text)


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)
