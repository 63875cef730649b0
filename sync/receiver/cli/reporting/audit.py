"""`loyalty-hq audit`: list the actions of people at head office."""

from functools import partial
from typing import Annotated

import msgspec
import typer
from sqlalchemy import RowMapping

from sync.receiver.audit.audit_log import Action
from sync.receiver.cli.hq import HEAD_OFFICE, check_known
from sync.receiver.cli.listing import print_pages
from sync.receiver.cli.options import StoreOption, checked_period
from sync.receiver.reports.audit_trail import AuditFilter, audit_entries
from sync.receiver.reports.json_views import json_members
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.listing import JsonOption, Listing


def audit(
    config: ConfigFile = None,
    *,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="At this time or later.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Before this time.")
    ] = None,
    action: Annotated[Action | None, typer.Option(help="Only this action.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what people did at head office, the oldest first.

    Who enrolled, revoked or retired tills, erased addresses, exported, acknowledged gaps, signed
    in and out; when and from where. TIME is a date (UTC) or a time with its offset. No command
    changes or deletes an entry.
    """
    settings = HEAD_OFFICE.settings(config)
    wanted = AuditFilter(checked_period(since, until), action, store)
    check_known(settings, store)
    listing = Listing("entries", as_json=as_json)
    print_pages(settings, listing, partial(audit_entries, wanted=wanted), _entry)


def _entry(row: RowMapping) -> dict[str, object]:
    members = json_members(row, ("at", "action", "actor", "origin", "store_id", "till_id"))
    return members | {"detail": msgspec.json.decode(row["detail"])}
