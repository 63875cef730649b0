"""`loyalty-hq revoke`: end the tokens and the join code of one till; list join codes."""

from datetime import UTC, datetime
from functools import partial
from typing import Annotated, NoReturn

import typer

from sync.receiver.auth.enrolment import Enrolment, Revoked
from sync.receiver.auth.join_codes import JoinCodes
from sync.receiver.auth.tokens import AgentName
from sync.receiver.cli.hq import HEAD_OFFICE, audit_log, check_known, run_on_database
from sync.receiver.cli.listing import print_pages
from sync.receiver.cli.options import OptionalStoreName, OptionalTillName
from sync.receiver.config import ReceiverSettings
from sync.receiver.db.database import Database
from sync.receiver.reports.join_code_list import join_code_entry, list_join_codes
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.listing import JsonOption, Listing
from sync.runtime.cli.printing import count, echo


def revoke(
    store_id: OptionalStoreName = None,
    till_id: OptionalTillName = None,
    config: ConfigFile = None,
    *,
    code: Annotated[
        bool, typer.Option("--code", help="Only the till's join code; its tokens stay valid.")
    ] = False,
    codes: Annotated[
        bool, typer.Option("--list", help="List the join codes, of STORE or all, and end nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Revoke all tokens of a till and its join code, at once and at every receiver.

    For a stolen or lost token or code. The agent keeps its captures and says that it is rejected;
    enroll the till again. Exit code 1 if there was nothing to revoke.
    """
    settings = HEAD_OFFICE.settings(config)
    if codes:
        _list(settings, store_id, as_json=as_json)
    if store_id is None or till_id is None or as_json:
        raise typer.BadParameter("expected STORE TILL, or --list [STORE]")
    name = AgentName(store_id, till_id)
    check_known(settings, store_id, till_id)
    audit = audit_log()

    async def end(database: Database) -> Revoked:
        if code:
            return Revoked(0, await JoinCodes(database).void(name, audit))
        return await Enrolment(database).revoke(name, audit)

    revoked = run_on_database(settings, end)
    if not revoked.tokens and not revoked.codes:
        what = "join code" if code else "valid token and no join code"
        HEAD_OFFICE.fail(f"{store_id}/{till_id} has no {what}: nothing was changed")
    found = {"token": revoked.tokens, "join code": revoked.codes}
    ended = " and ".join(count(number, kind) for kind, number in found.items() if number)
    echo(f"Revoked {ended} of {store_id}/{till_id}.")


def _list(settings: ReceiverSettings, store_id: str | None, *, as_json: bool) -> NoReturn:
    check_known(settings, store_id)
    listing = Listing("codes", as_json=as_json, title="join codes")
    pages = partial(list_join_codes, store_id=store_id)
    print_pages(settings, listing, pages, partial(join_code_entry, now=datetime.now(UTC)))
