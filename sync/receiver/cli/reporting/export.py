"""`loyalty-hq export`: write a table as CSV, JSON lines or Parquet."""

import sys
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Connection

from sync.protocol.rfc3339 import to_rfc3339
from sync.receiver.audit.audit_log import Action
from sync.receiver.auth.tokens import AgentName
from sync.receiver.cli.hq import (
    HEAD_OFFICE,
    audit_log,
    check_known,
    reference_now,
    run_on_database,
)
from sync.receiver.cli.options import CapturedFrom, CapturedTo, StoreOption, checked_period
from sync.receiver.cli.output import Output, output_to
from sync.receiver.cli.reporting.about_export import About, Tally, write_about
from sync.receiver.config import ReceiverSettings
from sync.receiver.db.database import Database
from sync.receiver.export.formats import CsvRows, Format, JsonRows, RowWriter
from sync.receiver.export.parquet import ParquetRows
from sync.receiver.export.selection import ExportTable, Selection
from sync.receiver.reports.completeness.report import Scope
from sync.receiver.reports.unheard import Unheard
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.printing import count
from sync.runtime.cli.progress import row_counter


def export(  # noqa: PLR0913 - its options, as typer has them
    table: Annotated[ExportTable, typer.Argument(help="The table.")] = ExportTable.SESSIONS,
    config: ConfigFile = None,
    *,
    form: Annotated[Format, typer.Option("--format", help="The format.")] = Format.CSV,
    store: StoreOption = None,
    captured_from: CapturedFrom = None,
    captured_to: CapturedTo = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Received at this time or later.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Received before this time.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Output file, written atomically, mode 0600."),
    ] = None,
    for_spreadsheet: Annotated[
        bool,
        typer.Option(
            "--for-spreadsheet",
            help="CSV: prefix texts that look like formulas with ', and count them.",
        ),
    ] = False,
) -> None:
    """Export a table as CSV, JSON lines or Parquet.

    Rows are ordered by primary key. TIME is a day (UTC; 2026-03-01+01:00: of that offset) or a time
    with its offset. --from and --to go by the corrected time of capture, or by that of receipt if
    the till's clock was wrong. The default output is standard output; beside FILE, FILE.about.json
    says as of when, and for which tills it cannot speak. email_answers contains e-mail addresses.
    """
    settings = HEAD_OFFICE.settings(config)
    if for_spreadsheet and form is not Format.CSV:
        raise typer.BadParameter("only for --format csv", param_hint="--for-spreadsheet")
    selection = Selection(
        table,
        store,
        checked_period(since, until, "--since/--until"),
        checked_period(captured_from, captured_to),
    )
    if selection.captured and not selection.has_capture_times:
        reason = f"{table.value} has no time of capture: use --since and --until"
        raise typer.BadParameter(reason, param_hint="--from/--to")
    check_known(settings, store)
    if form is Format.PARQUET:
        _check_destination(output)
    _export(settings, selection, form, output, for_spreadsheet=for_spreadsheet)


def _export(
    settings: ReceiverSettings,
    selection: Selection,
    form: Format,
    output: Path | None,
    *,
    for_spreadsheet: bool,
) -> None:
    scope = Scope(reference_now(), selection.store_id, selection.captured)
    tally = Tally()
    with output_to(output, "nothing was changed; run the command again") as file:
        writer = _writer(file, form, selection, for_spreadsheet=for_spreadsheet)
        with row_counter(selection.exported.value, is_printing=output is None) as show:
            work = partial(_write_rows, selection, form, writer, show, tally)
            unheard = run_on_database(settings, partial(work, scope))
        writer.close()
    about = About(selection, scope, form, tally, unheard)
    if output is not None:
        write_about(output, about)
    for sentence in about.sentences():
        HEAD_OFFICE.warn(sentence)
    if writer.changed:
        HEAD_OFFICE.warn(f"prefixed {count(writer.changed, 'text')} with ' to prevent formulas")


async def _write_rows(
    selection: Selection,
    form: Format,
    writer: RowWriter,
    show: Callable[[int, str], None],
    tally: Tally,
    scope: Scope,
    database: Database,
) -> Unheard:
    await database.write(partial(_record, selection=selection, form=form))
    async for rows in selection.pages(database):
        writer.write(rows)
        tally.add(rows)
        show(len(rows), rows[-1]["store_id"])
    return await database.read(scope.unheard)


def _record(connection: Connection, selection: Selection, form: Format) -> None:
    """Record the export, before its first row: an interrupted export counts too."""
    audit_log().record(
        connection,
        Action.EXPORT,
        AgentName(selection.store_id or "", ""),
        table=selection.exported.value,
        format=form.value,
        since=_time(selection.received.since),
        until=_time(selection.received.until),
        **{f"captured_{name}": at for name, at in selection.captured.members().items()},
    )


def _time(at: datetime | None) -> str | None:
    return None if at is None else to_rfc3339(at)


def _check_destination(output: Path | None) -> None:
    if output is None and sys.stdout.isatty():
        raise typer.BadParameter("cannot print Parquet on a terminal: use --output FILE")


def _writer(
    file: Output, form: Format, selection: Selection, *, for_spreadsheet: bool
) -> RowWriter:
    names = [column.name for column in selection.columns]
    match form:
        case Format.CSV:
            return CsvRows(file.write, names, for_spreadsheet=for_spreadsheet)
        case Format.JSONL:
            return JsonRows(file.write, names)
        case Format.PARQUET:
            return ParquetRows(file.write, selection.columns)
