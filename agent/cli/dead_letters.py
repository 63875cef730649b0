"""`loyalty-agent dead-letters`: list, show, retry and discard dead letters."""

from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.arguments import (
    NAME,
    ConfigFile,
    ExitCode,
    settings_of,
    unreached_agent_ends_it,
)

if TYPE_CHECKING:
    from agent.cli.client import AgentAnswer
    from agent.config import Settings

_LETTERS = "/agent/v1/dead-letters"

Letter = Annotated[
    str, typer.Argument(metavar="EPOCH/SEQUENCE", help="Its number, as `list` shows it.")
]

dead_letters = typer.Typer(
    help="See what central refused, and decide about it.", no_args_is_help=True
)


@dead_letters.command("list")
def list_letters(
    context: typer.Context,
    config: ConfigFile = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print all as JSON.")] = False,
) -> None:
    """List all dead letters, without e-mail addresses. The exit code is 1 if there are any."""
    settings = settings_of(context, config)
    with unreached_agent_ends_it():
        letters = _all_letters(settings)
    from agent.cli.printing import print_entries  # noqa: PLC0415 - keeps --help quick

    if as_json:
        import json  # noqa: PLC0415 - as above

        typer.echo(json.dumps(letters, ensure_ascii=False, separators=(",", ":")))
    elif letters:
        print_entries(f"Refused by central: {len(letters)}", [_entry(one) for one in letters])
    else:
        typer.echo("Nothing was refused.")
    raise typer.Exit(ExitCode.TROUBLE if letters else ExitCode.FINE)


@dead_letters.command()
def show(context: typer.Context, letter: Letter, config: ConfigFile = None) -> None:
    """Show the details of one dead letter."""
    from agent.cli.printing import print_values  # noqa: PLC0415 - as above

    answer = _ask(context, config, "GET", letter)
    print_values("Refused by central", answer.members)


@dead_letters.command()
def retry(context: typer.Context, letter: Letter, config: ConfigFile = None) -> None:
    """Retry one dead letter. A session start takes its e-mail answers along."""
    _ask(context, config, "POST", letter, "/retry")
    typer.echo(f"{letter} is sent again.")


@dead_letters.command()
def discard(context: typer.Context, letter: Letter, config: ConfigFile = None) -> None:
    """Discard one dead letter and erase its address. Dead e-mail answers to a session stay."""
    given_up = _ask(context, config, "POST", letter, "/discard").members
    typer.echo(f"{letter} is given up.")
    from sync.protocol.wire import EventType  # noqa: PLC0415 - as above

    if given_up.get("type") == EventType.SESSION_STARTED:
        for answer in _answers_to(given_up, settings_of(context, config)):
            typer.echo(f"Its refused answer stays listed: {answer}")


def _answers_to(session: dict[str, object], settings: "Settings") -> list[str]:
    """Return the numbers of the dead e-mail answers to a session."""
    with unreached_agent_ends_it():
        letters = _all_letters(settings)
    of_session = [one for one in letters if one["correlationId"] == session["correlationId"]]
    return [_number_of(one) for one in of_session]


def _ask(
    context: typer.Context, config: ConfigFile, method: str, letter: str, decision: str = ""
) -> "AgentAnswer":
    """Send a request about one dead letter; exit with code 2 if its number is malformed."""
    settings = settings_of(context, config)
    from agent.facts import Receipt  # noqa: PLC0415 - as above

    if Receipt.read(letter) is None:
        wrong = f"{letter!r} is not EPOCH/SEQUENCE: see {NAME} dead-letters list"
        typer.echo(f"{NAME}: {wrong}", err=True)
        raise typer.Exit(ExitCode.WRONG_USE)
    from agent.cli.client import ask  # noqa: PLC0415 - as above

    with unreached_agent_ends_it():
        return ask(settings, method, f"{_LETTERS}/{letter}{decision}")


def _all_letters(settings: "Settings") -> list[dict[str, object]]:
    """Return all dead letters: request pages until one is empty."""
    from agent.cli.client import ask  # noqa: PLC0415 - as above

    letters: list[dict[str, object]] = []
    while True:
        after = f"?after={_number_of(letters[-1])}" if letters else ""
        page = ask(settings, "GET", _LETTERS + after).value
        if not isinstance(page, list) or not page:
            return letters
        letters += page


def _number_of(letter: dict[str, object]) -> str:
    return f"{letter['epoch']}/{letter['sequence']}"


def _entry(letter: dict[str, object]) -> dict[str, object]:
    """Return the fields of a dead letter that `list` prints."""
    return {
        "number": _number_of(letter),
        "type": letter.get("type"),
        "code": letter.get("errorCode"),
        "message": letter.get("errorMessage"),
        "refused": letter.get("refusedAt"),
        "attempts": letter.get("attempts"),
    }
