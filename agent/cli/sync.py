"""The commands about the way to central: try now, and what it refused."""

import time
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
    from agent.cli.asking import AgentAnswer
    from agent.config import Settings

_LETTERS = "/agent/v1/dead-letters"
_LOOK_SECONDS = 0.2

Letter = Annotated[
    str, typer.Argument(metavar="EPOCH/SEQUENCE", help="Its number, as `list` shows it.")
]

dead_letters = typer.Typer(
    help="See what central refused, and decide about it.", no_args_is_help=True
)


def sync(
    context: typer.Context,
    config: ConfigFile = None,
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Stay until nothing waits, or it cannot go on.")
    ] = False,
) -> None:
    """Deliver what waits now, whatever was waited for.

    With --wait the exit code is 1 when something still waits or was refused.
    """
    settings = settings_of(context, config)
    from agent.cli.asking import ask  # noqa: PLC0415 - keeps --help quick

    with unreached_agent_ends_it():
        before = ask(settings, "POST", "/agent/v1/sync" + ("?pace=full" if wait else ""))
        if not wait:
            typer.echo("The agent tries to deliver now.")
            return
        status = _watch(settings, passes_before=_number(before.members, "passes"))
    _conclude(status)


@dead_letters.command("list")
def list_letters(
    context: typer.Context,
    config: ConfigFile = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the agent's own JSON.")] = False,
) -> None:
    """List what central refused for good; never an address. The exit code is 1 for any."""
    answer = _ask(context, config, "GET", _LETTERS)
    letters = answer.value if isinstance(answer.value, list) else []
    from agent.cli.printing import print_rows  # noqa: PLC0415 - as above

    if as_json:
        typer.echo(answer.text)
    elif letters:
        print_rows("Refused by central", [_summary(letter) for letter in letters])
    else:
        typer.echo("Nothing was refused.")
    raise typer.Exit(ExitCode.TROUBLE if letters else ExitCode.FINE)


@dead_letters.command()
def show(context: typer.Context, letter: Letter, config: ConfigFile = None) -> None:
    """Show all that is known about one."""
    from agent.cli.printing import print_values  # noqa: PLC0415 - as above

    answer = _ask(context, config, "GET", f"{_LETTERS}/{_place(letter)}")
    print_values("Refused by central", answer.members)


@dead_letters.command()
def retry(context: typer.Context, letter: Letter, config: ConfigFile = None) -> None:
    """Send one again; a session takes the answers that waited for it along."""
    _ask(context, config, "POST", f"{_LETTERS}/{_place(letter)}/retry")
    typer.echo(f"{letter} is sent again.")


@dead_letters.command()
def discard(context: typer.Context, letter: Letter, config: ConfigFile = None) -> None:
    """Give one up: it is not sent again, and its address is erased."""
    _ask(context, config, "POST", f"{_LETTERS}/{_place(letter)}/discard")
    typer.echo(f"{letter} is given up.")


def _ask(context: typer.Context, config: ConfigFile, method: str, path: str) -> "AgentAnswer":
    settings = settings_of(context, config)
    from agent.cli.asking import ask  # noqa: PLC0415 - as above

    with unreached_agent_ends_it():
        return ask(settings, method, path)


def _place(letter: str) -> str:
    epoch, slash, sequence = letter.partition("/")
    if not (slash and sequence.isascii() and sequence.isdigit() and epoch.isascii()):
        typer.echo(f"{NAME}: {letter!r} is not EPOCH/SEQUENCE, see dead-letters list", err=True)
        raise typer.Exit(ExitCode.WRONG_USE)
    return f"{epoch}/{sequence}"


def _summary(letter: object) -> dict[str, object]:
    """Return what a line of the list shows."""
    members = letter if isinstance(letter, dict) else {}
    return {
        "number": f"{members.get('epoch')}/{members.get('sequence')}",
        "type": members.get("type"),
        "code": members.get("errorCode"),
        "message": members.get("errorMessage"),
        "refused": members.get("refusedAt"),
        "attempts": members.get("attempts"),
    }


def _watch(settings: "Settings", passes_before: int) -> dict[str, object]:
    """Show how what waits gets less; return the status when none does or a pass has failed."""
    from agent.cli.asking import ask_status  # noqa: PLC0415 - as above
    from agent.cli.printing import Countdown  # noqa: PLC0415 - as above

    with Countdown("Delivering") as countdown:
        while True:
            status = ask_status(settings).members
            countdown.show(_number(status, "waiting"))
            if status.get("waiting") == 0 or _is_stuck(status, passes_before):
                return status
            time.sleep(_LOOK_SECONDS)


def _is_stuck(status: dict[str, object], passes_before: int) -> bool:
    sync = status["sync"]
    if not isinstance(sync, dict):
        return True
    return _number(sync, "passes") > passes_before and _number(sync, "failures") > 0


def _conclude(status: dict[str, object]) -> None:
    """Say how it ended."""
    waiting, refused = status.get("waiting"), _number(status, "deadLetters")
    if waiting == 0:
        typer.echo("Nothing waits.")
    else:
        how_many = "an unknown number of" if waiting is None else waiting
        typer.echo(f"{NAME}: {how_many} captures still wait: {_reason(status)}", err=True)
    if refused:
        typer.echo(f"{NAME}: central refused {refused}: see {NAME} dead-letters list", err=True)
    raise typer.Exit(ExitCode.TROUBLE if waiting or refused else ExitCode.FINE)


def _reason(status: dict[str, object]) -> str:
    sync = status["sync"] if isinstance(status["sync"], dict) else {}
    detail = f" ({sync['detail']})" if sync.get("detail") else ""
    return f"{sync.get('trouble') or sync.get('state')}{detail}"


def _number(members: dict[str, object], name: str) -> int:
    value = members.get(name)
    return value if isinstance(value, int) else 0
