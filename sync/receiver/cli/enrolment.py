"""`loyalty-hq enroll`: issue tokens for one machine or for a list of machines."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from sync.receiver.cli.arguments import (
    NAME,
    ConfigFile,
    ExitCode,
    checked_name,
    settings_of,
    unusable_database_ends_it,
)
from sync.receiver.cli.output import output_to

if TYPE_CHECKING:
    from sync.receiver.auth.tokens import AgentName
    from sync.receiver.config import Settings


def enroll(
    context: typer.Context,
    store_id: Annotated[str | None, typer.Argument(help="The store's name.")] = None,
    till_id: Annotated[
        str | None, typer.Argument(help="The POS machine's name in the store.")
    ] = None,
    config: ConfigFile = None,
    *,
    listed: Annotated[
        Path | None,
        typer.Option(
            "--csv", metavar="FILE", help="All machines of a list: columns store_id, till_id."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --csv: a new file for the tokens, mode 0600."),
    ] = None,
) -> None:
    """Issue a new token for the agent on a POS machine.

    The previous token stays valid until the new one is first used. With --csv, either all
    machines in the list get a token or none; the result is CSV: store_id, till_id, token.
    """
    settings = settings_of(context, config)
    if listed is not None and store_id is None:
        _enroll_list(settings, listed, output)
    elif listed is None and output is None and store_id is not None and till_id is not None:
        _enroll_one(settings, store_id, till_id)
    else:
        raise typer.BadParameter("expected STORE_ID TILL_ID, or --csv FILE [--output FILE]")


def _enroll_one(settings: "Settings", store_id: str, till_id: str) -> None:
    from sync.receiver.auth.tokens import AgentName  # noqa: PLC0415 - as above
    from sync.receiver.operations import enroll  # noqa: PLC0415 - keeps --help quick

    name = AgentName(checked_name("STORE_ID", store_id), checked_name("TILL_ID", till_id))
    with unusable_database_ends_it(settings):
        (token,) = enroll(settings, [name])
        typer.echo(token)


def _enroll_list(settings: "Settings", listed: Path, output: Path | None) -> None:
    from sync.receiver.auth.enrolment_csv import format_tokens  # noqa: PLC0415 - as above
    from sync.receiver.operations import enroll  # noqa: PLC0415 - as above

    names = _read(listed)
    if output is not None and output.exists():
        _end(f"{output} is there already, and what stands in it may be in use")
    # Create the file before the first token is issued: if it fails, no token changes.
    with output_to(output, "the tokens of before are still good, and it can be done again") as file:
        with unusable_database_ends_it(settings):
            tokens = enroll(settings, names)
        file.write("".join(format_tokens(zip(names, tokens, strict=True))).encode())
    if output is not None:
        typer.echo(f"Enrolled: {len(names)}, with their tokens in {output}", err=True)


def _read(listed: Path) -> "list[AgentName]":
    from sync.receiver.auth.enrolment_csv import EnrolmentListError, parse_list  # noqa: PLC0415 - as above

    try:
        return parse_list(listed.read_text("utf-8"))
    except OSError as error:
        _end(f"{listed}: {error.strerror}")
    except UnicodeDecodeError:
        _end(f"{listed}: expected text in UTF-8")
    except EnrolmentListError as error:
        _end(f"{listed}: nobody is enrolled:\n  {error}")


def _end(reason: str) -> NoReturn:
    typer.echo(f"{NAME}: {reason}", err=True)
    raise typer.Exit(ExitCode.WRONG_USE)
