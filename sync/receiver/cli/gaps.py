"""`loyalty-hq gaps`: list permanently lost events, and accept their loss."""

from functools import partial
from typing import Annotated

import typer
from sqlalchemy import RowMapping

from sync.protocol.rfc3339 import json_time
from sync.receiver.auth.tokens import AgentName
from sync.receiver.cli.hq import (
    HEAD_OFFICE,
    audit_log,
    check_known,
    checked_name,
    checked_reason,
    run_on_database,
)
from sync.receiver.cli.listing import print_pages
from sync.receiver.cli.options import StoreOption
from sync.receiver.ingest.acknowledge import GapName, acknowledge_gap
from sync.receiver.reports.gap_list import list_gaps
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.listing import JsonOption, Listing
from sync.runtime.cli.printing import count, echo
from sync.runtime.cli.program import ExitCode

gaps = typer.Typer(
    help="List permanently lost events, and acknowledge the loss.",
    no_args_is_help=True,
)


@gaps.command("list")
def list_all(
    config: ConfigFile = None,
    *,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List all gaps, acknowledged ones as well, without retired tills.

    Exit code 1 if one is not acknowledged.
    """
    settings = HEAD_OFFICE.settings(config)
    check_known(settings, store)
    pages = partial(list_gaps, store_id=store)
    listing = Listing("gaps", as_json=as_json)
    has_open = print_pages(settings, listing, pages, _entry, lambda e: e["acknowledgedAt"] is None)
    raise typer.Exit(ExitCode.PROBLEM if has_open else ExitCode.OK)


@gaps.command()
def acknowledge(
    store_id: Annotated[str, typer.Argument(metavar="STORE", help="The store's name.")],
    till_id: Annotated[str, typer.Argument(metavar="TILL", help="The POS machine's name.")],
    epoch: Annotated[str, typer.Argument(metavar="EPOCH", help="As shown by `list`.")],
    first: Annotated[int, typer.Argument(metavar="FIRST", help="The gap's first number.")],
    config: ConfigFile = None,
    *,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why the loss is accepted.")],
) -> None:
    """Accept that the events of a gap are lost.

    The gap no longer counts as incomplete and is shown as acknowledged, with your name and the
    reason. Events that arrive after all are stored as usual.
    """
    settings = HEAD_OFFICE.settings(config)
    name = AgentName(checked_name("STORE", store_id), checked_name("TILL", till_id))
    check_known(settings, store_id, till_id)
    accept = partial(
        acknowledge_gap,
        name=GapName(name, epoch, first),
        reason=checked_reason(reason),
        audit=audit_log(),
    )
    gap = run_on_database(settings, lambda database: database.write(accept))
    if gap is None or gap.acknowledgement is None:
        HEAD_OFFICE.fail(
            f"no gap of {store_id}/{till_id} begins at {first} of {epoch}: see gaps list"
        )
    lost = count(gap.last - gap.first + 1, "event")
    echo(f"{lost} acknowledged as lost by {gap.acknowledgement.by}: {gap.acknowledgement.reason}")


def _entry(row: RowMapping) -> dict[str, object]:
    return {
        "storeId": row["store_id"],
        "tillId": row["till_id"],
        "epoch": row["epoch"],
        "first": row["first_sequence"],
        "last": row["last_sequence"],
        "reason": row["reason"],
        "notedAt": json_time(row["noted_at"]),
        "acknowledgedAt": json_time(row["acknowledged_at"]),
        "acknowledgedBy": row["acknowledged_by"],
        "acknowledgedReason": row["acknowledged_reason"],
    }
