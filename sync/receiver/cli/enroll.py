"""`loyalty-hq enroll`: issue tokens or join codes, for one machine or for a list of machines."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.auth.enrolment_csv import format_tokens
from sync.receiver.auth.tokens import AgentName
from sync.receiver.cli.hq import HEAD_OFFICE, audit_log, run_on_database
from sync.receiver.cli.join_codes.issue import CodeTarget, print_code, print_codes
from sync.receiver.cli.machine_list import read_machines
from sync.receiver.cli.options import checked
from sync.receiver.cli.output import output_to
from sync.receiver.config import ReceiverSettings
from sync.receiver.db.database import Database
from sync.runtime.cli.command_group import ConfigFile, NewState
from sync.runtime.cli.printing import count, echo

_SECRET_BYTES = 32


_ListFile = Annotated[
    Path | None,
    typer.Option(
        "--csv", metavar="FILE", help="All machines of a list: columns store_id, till_id."
    ),
]
_Output = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="With --csv: a new file for the tokens or codes, mode 0600."),
]
_Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Print a join code instead of a token; URL: head office as machines reach it.",
    ),
]
_AuthorityFile = Annotated[
    Path | None,
    typer.Option(
        "--ca", metavar="FILE", help="With --url: the certificate of head office's authority."
    ),
]


def enroll(  # noqa: PLR0913 - the options of a command
    store_id: Annotated[
        str | None,
        typer.Argument(metavar="STORE_ID", callback=checked("STORE_ID"), help="The store's name."),
    ] = None,
    till_id: Annotated[
        str | None,
        typer.Argument(
            metavar="TILL_ID",
            callback=checked("TILL_ID"),
            help="The POS machine's name in the store.",
        ),
    ] = None,
    config: ConfigFile = None,
    *,
    new: NewState = False,
    list_file: _ListFile = None,
    output: _Output = None,
    url: _Url = None,
    ca: _AuthorityFile = None,
) -> None:
    """Issue a new token for the agent on a POS machine, or with --url a join code.

    The previous token stays valid until the new one is first used. With --csv, either all
    machines in the list get a token or none; the result is CSV: store_id, till_id, token.

    A join code is for `loyalty-agent join` on the machine: once, within 7 days. It voids the
    machine's earlier code. With --csv the result is CSV: store_id, till_id, code, expires_at; an
    interrupted run with --output continues.
    """
    if (ca is not None and url is None) or (output is not None and list_file is None):
        raise typer.BadParameter("--ca needs --url, and --output needs --csv")
    settings = HEAD_OFFICE.settings(config, new=new)
    if list_file is not None and store_id is None:
        if url is not None:
            print_codes(settings, CodeTarget(url, ca), list_file, output)
        else:
            _enroll_list(settings, list_file, output)
    elif list_file is None and store_id is not None and till_id is not None:
        name = AgentName(store_id, till_id)
        if url is not None:
            print_code(settings, CodeTarget(url, ca), name)
        else:
            (token,) = _issue_tokens(settings, [name])
            echo(token)
    else:
        raise typer.BadParameter("expected STORE_ID TILL_ID, or --csv FILE [--output FILE]")


def _enroll_list(settings: ReceiverSettings, list_file: Path, output: Path | None) -> None:
    names = read_machines(list_file, "no machine is enrolled")
    if output is not None and output.exists():
        HEAD_OFFICE.refuse(
            f"{output} exists already, and its tokens may be in use: choose another name"
        )
    # Create the file before the first token is issued: if it fails, no token changes.
    with output_to(output, "the previous tokens remain valid; run the command again") as file:
        tokens = _issue_tokens(settings, names)
        file.write("".join(format_tokens(zip(names, tokens, strict=True))).encode())
    if output is not None:
        echo(f"Enrolled {count(len(names), 'machine')}; tokens are in {output}.", err=True)


def _issue_tokens(settings: ReceiverSettings, names: Sequence[AgentName]) -> list[str]:
    audit = audit_log()

    async def issue(database: Database) -> list[str]:
        new = [(name, secrets.token_bytes(_SECRET_BYTES)) for name in names]
        return await Enrolment(database).enroll(new, datetime.now(UTC), audit)

    return run_on_database(settings, issue, create=True)
