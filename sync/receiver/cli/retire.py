"""`loyalty-hq retire`: take a till or a store out of service."""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.auth.retirement import RetiredTill
from sync.receiver.cli.hq import HEAD_OFFICE, audit_log, run_on_database
from sync.receiver.cli.options import StoreName, checked
from sync.receiver.db.database import Database
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.listing import JsonOption, Listing
from sync.runtime.cli.printing import count, echo


def retire(
    store_id: StoreName,
    till_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[TILL]",
            callback=checked("TILL"),
            help="The POS machine's name; without: all of the store.",
        ),
    ] = None,
    config: ConfigFile = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="A whole store without asking.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Take a till, or all tills of a store, out of service.

    Its tokens and its join code are revoked, and it leaves pages, counts, completeness and alerts.
    Its events stay: sessions are found, exports have them. `enroll` brings it back.
    """
    settings = HEAD_OFFICE.settings(config)
    if till_id is None and not yes:
        _confirm(store_id)
    audit = audit_log()

    async def work(database: Database) -> list[RetiredTill] | None:
        return await Enrolment(database).retire(store_id, till_id, datetime.now(UTC), audit)

    retired = run_on_database(settings, work)
    if retired is None:
        what = f"store {store_id}" if till_id is None else f"till {store_id}/{till_id}"
        HEAD_OFFICE.refuse(f"{what} is not known: nothing was changed")
    if as_json:
        _print_json(retired)
    else:
        _print(store_id, till_id, retired)


def _confirm(store_id: str) -> None:
    if not sys.stdin.isatty():
        HEAD_OFFICE.refuse(f"all tills of store {store_id}? Give --yes, or a TILL")
    if not typer.confirm(f"Retire all tills of store {store_id}?"):
        HEAD_OFFICE.fail("nothing was changed")


def _print_json(retired: list[RetiredTill]) -> None:
    listing = Listing("retired", as_json=True)
    for till in retired:
        listing.add(
            {
                "storeId": till.name.store_id,
                "tillId": till.name.till_id,
                "tokensRevoked": till.tokens,
                "joinCodesRevoked": till.codes,
                "wasRetired": till.was_retired,
                "outstanding": till.outstanding,
            }
        )
    listing.end()


def _print(store_id: str, till_id: str | None, retired: list[RetiredTill]) -> None:
    for till in retired:
        name = f"{till.name.store_id}/{till.name.till_id}"
        revoked = count(till.tokens, "token")
        if till.codes:
            revoked = f"{revoked} and {count(till.codes, 'join code')}"
        deed = f"{name} was retired before" if till.was_retired else f"Retired {name}"
        echo(f"{deed}; revoked {revoked}.")
        if till.outstanding:
            missing = count(till.outstanding, "event")
            HEAD_OFFICE.warn(
                f"{name} announced {missing} that did not arrive; head office rejects them now"
            )
    if not retired:
        echo(f"{store_id if till_id is None else f'{store_id}/{till_id}'} was retired before.")
