"""`loyalty-agent sync`: trigger a delivery pass and, with `--wait`, follow it."""

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
    from agent.config import Settings

_LOOK_SECONDS = 0.2
# States in `GET /agent/v1/status` after a failed pass with no success since.
_STUCK = ("retrying", "holding")


def sync(
    context: typer.Context,
    config: ConfigFile = None,
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Stay until nothing waits, or it cannot go on.")
    ] = False,
) -> None:
    """Deliver queued captures now.

    Skips a pending retry delay and quiet hours. With --wait the exit code is 1 if captures are
    still queued or there are dead letters.
    """
    settings = settings_of(context, config)
    with unreached_agent_ends_it():
        if not wait:
            _deliver(settings)
            typer.echo("The agent tries to deliver now.")
            return
        status = _deliver_and_watch(settings)
    _conclude(status)


def _deliver(settings: "Settings", query: str = "") -> int:
    """Trigger a delivery pass; return the number of passes before it."""
    from agent.cli.client import ask  # noqa: PLC0415 - keeps --help quick

    return _number(ask(settings, "POST", "/agent/v1/sync" + query).members, "passes")


def _deliver_and_watch(settings: "Settings") -> dict[str, object]:
    """Show progress until the queue is empty or a pass has failed; return the last status."""
    from agent.cli.client import ask_status  # noqa: PLC0415 - as above
    from agent.cli.printing import Countdown  # noqa: PLC0415 - as above

    status = ask_status(settings).members
    passes_before = _deliver(settings, "?pace=full")
    with Countdown("Delivering") as countdown:
        while True:
            if isinstance(waiting := status.get("waiting"), int):
                countdown.show(waiting)
            if waiting == 0 or _is_stuck(_way(status), passes_before):
                return status
            time.sleep(_LOOK_SECONDS)
            status = ask_status(settings).members


def _is_stuck(way: dict[str, object], passes_before: int) -> bool:
    return _number(way, "passes") > passes_before and way.get("state") in _STUCK


def _conclude(status: dict[str, object]) -> None:
    """Print the result and exit with its code."""
    waiting, refused = status.get("waiting"), _number(status, "deadLetters")
    if waiting == 0:
        typer.echo("Nothing waits.")
    else:
        how_many = "an unknown number of" if waiting is None else waiting
        typer.echo(f"{NAME}: {how_many} captures still wait: {_reason(_way(status))}", err=True)
    if refused:
        typer.echo(f"{NAME}: central refused {refused}: see {NAME} dead-letters list", err=True)
    raise typer.Exit(ExitCode.FINE if waiting == 0 and not refused else ExitCode.TROUBLE)


def _reason(way: dict[str, object]) -> str:
    detail = f" ({way['detail']})" if way.get("detail") else ""
    return f"{way.get('trouble') or way.get('state')}{detail}"


def _way(status: dict[str, object]) -> dict[str, object]:
    """Return the delivery state in a status document."""
    way = status.get("sync")
    return way if isinstance(way, dict) else {}


def _number(members: dict[str, object], name: str) -> int:
    value = members.get(name)
    return value if isinstance(value, int) else 0
