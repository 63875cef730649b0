"""`loyalty-hq find`: find events by an id, a number, a receipt, a store and time, an address."""

import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta, tzinfo
from functools import partial
from typing import Annotated, NoReturn
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from msgspec import to_builtins
from msgspec.structs import replace

from sync.receiver.audit.audit_log import Action
from sync.receiver.cli.hq import (
    HEAD_OFFICE,
    audit_log,
    check_known,
    reference_now,
    run_on_database,
)
from sync.receiver.cli.options import StoreOption
from sync.receiver.cli.reporting.as_of import as_of
from sync.receiver.config import ReceiverSettings
from sync.receiver.db.database import Database
from sync.receiver.privacy.redaction import Address
from sync.receiver.reports.completeness.report import Scope
from sync.receiver.reports.find.by_address import find_by_address
from sync.receiver.reports.find.events import FoundEvent, find_events
from sync.receiver.reports.find.query import Query, parse_query
from sync.receiver.reports.unheard import Unheard
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.listing import JsonOption, Listing
from sync.runtime.cli.printing import count
from sync.runtime.cli.program import ExitCode

_MAX_MINUTES = 24 * 60


def find(
    query: Annotated[
        list[str] | None,
        typer.Argument(metavar="[QUERY]", help="The id, number, receipt, or store and time."),
    ] = None,
    config: ConfigFile = None,
    *,
    email: Annotated[
        bool, typer.Option("--email", help="Read an e-mail address from standard input instead.")
    ] = False,
    store: StoreOption = None,
    within: Annotated[
        int, typer.Option(metavar="MINUTES", min=0, max=_MAX_MINUTES, help="Around a time.")
    ] = 10,
    time_zone: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of a local time; default: that of this machine."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find events by id, number, receipt, or store and time.

    QUERY is a correlation id, a number of the POS (externalIdentifier), a receipt EPOCH/SEQUENCE,
    or a store and a local time such as 0042 2026-03-04 14:32 (the nearest first; an offset is
    possible). Each event is shown with its till, its times and its state, such as here, rejected,
    lost, not-here-yet (its till said that it has it) or unknown.

    --email answers an access request: everything that holds the address, and the sessions that it
    answers, each with the content held (body), in which a mark stands for the address. The address
    is read from standard input and is in no log; the audit log records the request without it. Exit
    code 1 if nothing is found.
    """
    settings = HEAD_OFFICE.settings(config)
    check_known(settings, store)
    scope = Scope(reference_now(), store)
    others: Counter[str] = Counter()
    if email:
        if query or store:
            raise typer.BadParameter("the address is read from standard input, of all stores")
        events = partial(_of_address, address=_address(), others=others)
    else:
        parsed = _parsed(" ".join(query or ()), time_zone, within)
        if parsed.store_and_time is not None:
            check_known(settings, parsed.store_and_time.store_id)
        events = partial(_of_query, query=parsed, store_id=store)
    _print(settings, scope, events, others, as_json=as_json)


def _print(
    settings: ReceiverSettings,
    scope: Scope,
    events: Callable[[Database], AsyncIterator[FoundEvent]],
    others: Counter[str],
    *,
    as_json: bool,
) -> NoReturn:
    """Print each event once, then the limits of the answer, and exit."""
    now = scope.reference.now
    listing = Listing("events", as_json=as_json, head=scope.reference.as_of())

    async def show(database: Database) -> tuple[int, Unheard]:
        seen: set[FoundEvent] = set()
        async for event in events(database):
            if event not in seen:
                seen.add(event)
                listing.add(_entry(event))
        return listing.end(), await database.read(scope.unheard)

    found, unheard = run_on_database(settings, show, ExitCode.USAGE)
    for table, rows in sorted(others.items()):
        HEAD_OFFICE.warn(f"{count(rows, 'row')} of {table} as well")
    if not found:
        HEAD_OFFICE.warn("nothing is held of it here: no till has sent it, or it was erased")
    for sentence in as_of(now, unheard):
        HEAD_OFFICE.warn(sentence)
    raise typer.Exit(ExitCode.OK if found or others else ExitCode.PROBLEM)


def _entry(event: FoundEvent) -> dict[str, object]:
    """Return an event as it is listed; its content, if it is given, as an object."""
    entry: dict[str, object] = to_builtins(replace(event, body=None))
    del entry["body"]
    return entry if event.body is None else entry | {"body": json.loads(event.body)}


async def _of_query(
    database: Database, query: Query, store_id: str | None
) -> AsyncIterator[FoundEvent]:
    """Yield the events without their content, which is for an access request."""
    async for event in find_events(database, query, store_id):
        yield replace(event, body=None)


async def _of_address(
    database: Database, address: Address, others: Counter[str]
) -> AsyncIterator[FoundEvent]:
    """Record the request in the audit log, then yield the events."""
    audit = audit_log()
    await database.write(lambda connection: audit.record(connection, Action.FIND, by="address"))
    async for event in find_by_address(database, address, others):
        yield event


def _address() -> Address:
    try:
        return Address.parse(sys.stdin.readline())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="standard input") from None


def _parsed(text: str, time_zone: str | None, within: int) -> Query:
    if "@" in text:
        reason = "an address must not stand in a command: give --email, and it on standard input"
        raise typer.BadParameter(reason, param_hint="QUERY")
    try:
        return parse_query(text, _zone(time_zone), timedelta(minutes=within))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="QUERY") from None


def _zone(name: str | None) -> tzinfo | None:
    """Return the time zone; None is that of this machine, with its summer time."""
    try:
        return None if name is None else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        reason = "expected a name such as Europe/Zurich"
        raise typer.BadParameter(reason, param_hint="--time-zone") from None
