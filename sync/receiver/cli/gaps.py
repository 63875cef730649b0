"""`loyalty-hq gaps`: list permanently lost events, and accept their loss."""

from functools import partial
from typing import Annotated

import typer
from sqlalchemy import RowMapping

from sync.receiver.auth.tokens import AgentName
from sync.receiver.cli.hq import HEAD_OFFICE, audit_log, check_known, run_on_database
from sync.receiver.cli.listing import print_pages
from sync.receiver.cli.options import EpochName, Reason, StoreName, StoreOption, TillName
from sync.receiver.ingest.acknowledge import GapName, acknowledge_gap
from sync.receiver.ingest.gaps import ACKNOWLEDGEMENT
from sync.receiver.reports.gap_list import list_gaps
from sync.receiver.reports.json_views import json_members
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.listing import JsonOption, Listing
from sync.runtime.cli.printing import count, echo

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
    print_pages(settings, listing, pages, _entry, lambda e: e["acknowledgedAt"] is None)


@gaps.command()
def acknowledge(
    store_id: StoreName,
    till_id: TillName,
    epoch: EpochName,
    first: Annotated[int, typer.Argument(metavar="FIRST", help="The gap's first number.")],
    config: ConfigFile = None,
    *,
    reason: Reason,
) -> None:
    """Accept that the events of a gap are lost.

    The gap no longer counts as incomplete and is shown as acknowledged, with your name and the
    reason. Events that arrive after all are stored as usual.
    """
    settings = HEAD_OFFICE.settings(config)
    check_known(settings, store_id, till_id)
    name = GapName(AgentName(store_id, till_id), epoch, first)
    accept = partial(acknowledge_gap, name=name, reason=reason, audit=audit_log())
    gap = run_on_database(settings, lambda database: database.write(accept))
    if gap is None or gap.acknowledgement is None:
        HEAD_OFFICE.fail(
            f"no gap of {store_id}/{till_id} begins at {first} of {epoch}: see gaps list"
        )
    lost = count(gap.last - gap.first + 1, "event")
    echo(f"{lost} acknowledged as lost by {gap.acknowledgement.by}: {gap.acknowledgement.reason}")


def _entry(row: RowMapping) -> dict[str, object]:
    return {
        **json_members(row, ("store_id", "till_id", "epoch")),
        "first": row["first_sequence"],
        "last": row["last_sequence"],
        **json_members(row, ("reason", "noted_at", *ACKNOWLEDGEMENT)),
    }
