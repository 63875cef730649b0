"""`loyalty-hq completeness`: report missing captures per till and epoch."""

import sys
from typing import Annotated

import typer

from sync.receiver.cli.hq import (
    HEAD_OFFICE,
    reference_now,
    run_on_database,
)
from sync.receiver.cli.options import CapturedFrom, CapturedTo, checked, checked_period
from sync.receiver.cli.reporting.as_of import as_of
from sync.receiver.db.database import Database
from sync.receiver.db.period import Period
from sync.receiver.reports.completeness.audit import audit
from sync.receiver.reports.completeness.report import (
    Scope,
    Totals,
    completeness_json,
    format_ranges,
)
from sync.receiver.reports.completeness.state import AcknowledgedGap, EpochCompleteness, Range
from sync.receiver.reports.store_list import is_known_store
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.printing import count, echo, label, one_line, print_wrapped, write_json
from sync.runtime.cli.program import ExitCode

_KEY = "{:<12} {:<12} {:<36} {:>9}"
_ROW = _KEY + "  {:<12}  {}"


def completeness(
    config: ConfigFile = None,
    *,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="ID", callback=checked("--store"), help="This store alone, complete or not."
        ),
    ] = None,
    since: CapturedFrom = None,
    until: CapturedTo = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every epoch, as JSON.")] = False,
) -> None:
    """Report missing captures by sequence number, of all tills but the retired ones.

    Exit code 0 if every capture known to exist is here, accepted or rejected, or acknowledged as
    lost (see gaps); 1 if captures are outstanding, missing or permanently lost, or if a till may
    have captures that are not known here (it is silent, or closed with captures on it; not one
    that is not yet installed); 2 if the audit failed. An epoch that ended without the last word of
    its machine counts as incomplete until a person acknowledges it (see epochs).

    With --from and --to: the captures of this period, and those that may be missing. TIME is a
    day (UTC; 2026-03-01+01:00: of that offset) or a time with its offset. A capture whose till
    had a wrong clock counts by its corrected time, or if that is unknown by its time of receipt.
    """
    settings = HEAD_OFFICE.settings(config)
    scope = Scope(reference_now(), store, checked_period(since, until))

    async def report(database: Database) -> Totals | None:
        if store is not None and not await is_known_store(database, store):
            return None
        return await (_print_json if as_json else _print_table)(database, scope)

    totals = run_on_database(settings, report, ExitCode.USAGE)
    if totals is None:
        HEAD_OFFICE.refuse(f"store {store} has no known tills")
    raise typer.Exit(ExitCode.OK if totals.is_proven else ExitCode.PROBLEM)


async def _print_json(database: Database, scope: Scope) -> Totals:
    totals = Totals()
    async for chunk in completeness_json(database, scope, totals):
        write_json(chunk)
    sys.stdout.flush()
    return totals


async def _print_table(database: Database, scope: Scope) -> Totals:
    """Print incomplete epochs and the totals; for a given store, all epochs.

    An epoch with acknowledged gaps alone is complete, and is listed with them.
    """
    totals = Totals()
    has_rows = False
    async for epoch in audit(database, scope.store_id, scope.period):
        totals.add(epoch)
        if lines := _lines_of(epoch, always=scope.store_id is not None):
            if not has_rows:
                _show_heading()
            has_rows = True
            _show(epoch, lines)
    print_wrapped(_summary(totals))
    if scope.period:
        print_wrapped(_in_period(totals, scope.period))
        if scope.period.until and scope.period.until > scope.reference.now:
            print_wrapped("The period has not ended: this is what is known of it so far.")
    unheard = await database.read(scope.unheard)
    for sentence in as_of(scope.reference.now, unheard):
        print_wrapped(sentence)
    totals.unheard = unheard.count
    return totals


def _show_heading() -> None:
    heads = ("STORE", "TILL", "EPOCH", "COMPLETE", "KIND", "NUMBERS")
    line = _KEY if sys.stdout.isatty() else _ROW
    echo(line.format(*map(label, heads)))


def _in_period(totals: Totals, period: Period) -> str:
    bounds = [f"{name} {at}" for name, at in period.members().items()]
    captured = f"{count(totals.captured, 'capture')} here {' '.join(bounds)}"
    if not totals.untrusted_times:
        return f"{captured}."
    untrusted = f"{totals.untrusted_times} by the time of receipt: the till's clock was wrong"
    return f"{captured}, {untrusted}."


def _summary(totals: Totals) -> str:
    epochs = count(totals.epochs, "epoch")
    verdict = f"Incomplete, {totals.incomplete} of {epochs}"
    if totals.complete:
        verdict = f"Complete, {epochs}" if totals.epochs else "No epochs known"
    parts = [
        f"{verdict}: {totals.missing} missing",
        f"{totals.gaps} permanently lost, {totals.outstanding} outstanding",
        f"{totals.rejected} rejected",
    ]
    if totals.acknowledged:
        parts.append(f"{totals.acknowledged} acknowledged as lost")
    if totals.moved:
        parts.append(f"{totals.moved} with new numbers in a later epoch")
    if totals.unconfirmed:
        parts.append(f"{count(totals.unconfirmed, 'ended epoch')} not confirmed (see epochs list)")
    if totals.unlisted:
        parts.append(f"{count(totals.unlisted, 'epoch')} without a row in agents")
    if totals.truncated:
        parts.append(f"at least: {count(totals.truncated, 'epoch')} with more than is listed")
    return f"{', '.join(parts)}."


def _end_of(epoch: EpochCompleteness) -> list[tuple[str, str]]:
    """Return the line on an end without the last word of its machine, if it has one."""
    if (accepted := epoch.acknowledged_end) is not None:
        return [("end accepted", one_line(f"by {accepted.acknowledged_by}: {accepted.reason}"))]
    if (ended := epoch.unconfirmed) is None:
        return []
    known = count(ended.captures, "capture")
    if ended.last_word_at is None:
        return [("unconfirmed", f"{known}, its machine was never heard, more may exist")]
    last_word = "its last word" if ended.closed_at is None else "switched off in order"
    return [("unconfirmed", f"{known} up to {ended.last_word_at} ({last_word}), more may exist")]


def _lines_of(epoch: EpochCompleteness, *, always: bool) -> list[tuple[str, str]]:
    """Return the lines on an epoch; empty if it is complete, unless `always`."""
    kinds: dict[str, list[Range] | list[AcknowledgedGap]] = {
        "missing": epoch.missing,
        "lost": epoch.gaps,
        "acknowledged": [one for one in epoch.acknowledged_gaps if not one.has_moved],
        "moved": [one for one in epoch.acknowledged_gaps if one.has_moved],
        "outstanding": epoch.outstanding,
        "rejected": epoch.rejected,
    }
    lines = [(kind, format_ranges(numbers)) for kind, numbers in kinds.items() if numbers]
    if not epoch.listed:
        lines.insert(0, ("not listed", "its row in agents is missing"))
    if epoch.captured is not None and (lines or always):
        lines.insert(0, ("captured", str(epoch.captured)))
    lines += _end_of(epoch)
    if epoch.truncated:
        lines.append(("more", "further numbers are not listed"))
    if not lines and always:
        lines.append(("-", ""))
    return lines


def _show(epoch: EpochCompleteness, lines: list[tuple[str, str]]) -> None:
    names = map(one_line, (epoch.store_id, epoch.till_id, epoch.epoch))
    key = (*names, epoch.complete_through)
    if not sys.stdout.isatty():
        for kind, numbers in lines:
            echo(_ROW.format(*key, kind, numbers).rstrip())
    else:
        echo(_KEY.format(*key))
        for kind, numbers in lines:
            if numbers:
                shown = f"{label(kind)}: {label(numbers)}"
                print_wrapped(shown, indent=" " * 4)
