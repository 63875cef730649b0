"""`loyalty-hq epochs`: list epochs of unknown end, and accept the loss of their events."""

from functools import partial

import typer
from sqlalchemy import RowMapping

from sync.protocol.rfc3339 import json_time
from sync.receiver.auth.tokens import AgentName
from sync.receiver.cli.hq import HEAD_OFFICE, audit_log, check_known, run_on_database
from sync.receiver.cli.listing import Entry, print_pages
from sync.receiver.cli.options import EpochName, Reason, StoreName, StoreOption, TillName
from sync.receiver.ingest.epochs.acknowledge import acknowledge_epoch
from sync.receiver.ingest.epochs.end import EpochEnd, epoch_end
from sync.receiver.ingest.gaps import ACKNOWLEDGEMENT
from sync.receiver.reports.gap_list import list_unconfirmed_epochs
from sync.receiver.reports.json_views import json_members
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.listing import JsonOption, Listing
from sync.runtime.cli.printing import count, echo

epochs = typer.Typer(
    help="List and acknowledge unconfirmed epochs.\n\nUnconfirmed: another epoch followed, and its"
    " machine never said that nothing is left of it.",
    no_args_is_help=True,
)


@epochs.command("list")
def list_all(
    config: ConfigFile = None,
    *,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List ended epochs that are not confirmed or lack events.

    Acknowledged ones as well; without retired tills. Exit code 1 if one is not acknowledged.
    """
    settings = HEAD_OFFICE.settings(config)
    check_known(settings, store)
    pages = partial(list_unconfirmed_epochs, store_id=store)
    listing = Listing("epochs", as_json=as_json, title="unconfirmed epochs")
    print_pages(settings, listing, pages, _entry, _is_open)


@epochs.command()
def acknowledge(
    store_id: StoreName,
    till_id: TillName,
    epoch: EpochName,
    config: ConfigFile = None,
    *,
    reason: Reason,
) -> None:
    """Accept that what an ended epoch lacks is lost.

    Its machine may have held more than has arrived. The epoch no longer counts as incomplete and is
    shown as acknowledged, with your name and the reason. Events that arrive after all are stored as
    usual.
    """
    settings = HEAD_OFFICE.settings(config)
    check_known(settings, store_id, till_id)
    name, audit = AgentName(store_id, till_id), audit_log()
    accept = partial(acknowledge_epoch, name=name, epoch=epoch, reason=reason, audit=audit)
    accepted = run_on_database(settings, lambda database: database.write(accept))
    if accepted is None:
        HEAD_OFFICE.fail(
            f"epoch {epoch} of {store_id}/{till_id} needs no acknowledgement: see epochs list"
        )
    by, why = accepted.acknowledgement.by, accepted.acknowledgement.reason
    lost = f", with {count(accepted.outstanding, 'outstanding event')} lost"
    echo(f"End acknowledged by {by}{lost if accepted.outstanding else ''}: {why}")


def _is_open(entry: Entry) -> bool:
    return entry["ended"] == EpochEnd.UNCONFIRMED or bool(entry["outstanding"])


def _entry(row: RowMapping) -> dict[str, object]:
    return {
        **json_members(row, ("store_id", "till_id", "epoch")),
        "ended": epoch_end(row.__getitem__),
        "captures": row["last_sequence"],
        "outstanding": row["last_sequence"] - row["accepted_through"],
        "lastWordAt": json_time(row["last_seen_at"]),
        "closedAt": json_time(row["closed_at"]),
        "followedAt": json_time(row["followed_at"]),
        **json_members(row, ("ended_reason", *ACKNOWLEDGEMENT)),
    }
