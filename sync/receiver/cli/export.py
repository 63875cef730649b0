"""`loyalty-hq export`: write a table as CSV, JSON lines or Parquet."""

import sys
from datetime import datetime
from pathlib import Path
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
from sync.receiver.cli.output import Output, output_to
from sync.receiver.cli.progress import Counter
from sync.receiver.export.names import Exported, Format

if TYPE_CHECKING:
    from sync.receiver.export.selection import Selection
    from sync.receiver.export.sink import RowWriter


def export(  # noqa: PLR0913 - its options, as typer has them
    context: typer.Context,
    table: Annotated[Exported, typer.Argument(help="The table.")] = Exported.SESSIONS,
    config: ConfigFile = None,
    *,
    form: Annotated[Format, typer.Option("--format", help="The format.")] = Format.CSV,
    store: Annotated[str | None, typer.Option(metavar="ID", help="This store alone.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Received at this time or later.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Received before this time.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Written as a whole or not at all, mode 0600."),
    ] = None,
    for_spreadsheet: Annotated[
        bool,
        typer.Option(
            "--for-spreadsheet",
            help="CSV: put ' before what a spreadsheet takes for a formula, and say how often.",
        ),
    ] = False,
) -> None:
    """Export a table as CSV, JSON lines or Parquet.

    Rows are ordered by primary key. TIME is a date (UTC) or a time with its offset. The default
    output is standard output. email_answers contains e-mail addresses.
    """
    settings = settings_of(context, config)
    from sync.receiver.export.selection import Selection  # noqa: PLC0415 - as above
    from sync.receiver.operations import export_table  # noqa: PLC0415 - keeps --help quick

    if for_spreadsheet and form is not Format.CSV:
        raise typer.BadParameter("it is for --format csv", param_hint="--for-spreadsheet")
    selection = Selection(
        table,
        None if store is None else checked_name("--store", store),
        _time("--since", since),
        _time("--until", until),
    )
    if form is Format.PARQUET:
        _check_parquet(output)
    with output_to(output, "nothing was changed, and it can be done again") as file:
        writer = _writer(file, form, selection, for_spreadsheet=for_spreadsheet)
        with unusable_database_ends_it(settings), Counter(table.value) as counter:
            export_table(settings, selection, writer, counter.show)
        writer.close()
    if writer.changed:
        typer.echo(f"{NAME}: ' was put before {writer.changed} texts", err=True)


def _time(option: str, text: str | None) -> datetime | None:
    from sync.receiver.export.selection import read_time  # noqa: PLC0415 - as above

    try:
        return None if text is None else read_time(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _check_parquet(output: Path | None) -> None:
    if output is None and sys.stdout.isatty():
        raise typer.BadParameter("Parquet is not for a terminal: give --output FILE")
    try:
        import sync.receiver.export.parquet  # noqa: F401, PLC0415 - an extra that may be absent
    except ImportError:
        typer.echo(f"{NAME}: Parquet needs pyarrow: pip install 'loyalty-agent[parquet]'", err=True)
        raise typer.Exit(ExitCode.WRONG_USE) from None


def _writer(
    file: Output, form: Format, selection: "Selection", *, for_spreadsheet: bool
) -> "RowWriter":
    from sync.receiver.export.plain import CsvRows, JsonRows  # noqa: PLC0415 - as above

    names = list(selection.table.c.keys())
    match form:
        case Format.CSV:
            return CsvRows(file, names, for_spreadsheet=for_spreadsheet)
        case Format.JSONL:
            return JsonRows(file, names)
        case Format.PARQUET:
            from sync.receiver.export.parquet import ParquetRows  # noqa: PLC0415 - as above

            return ParquetRows(file, selection.table)
