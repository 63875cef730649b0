"""`loyalty-agent sync`: trigger a delivery pass and, with `--wait`, follow it."""

import time
from typing import Annotated

import typer

from agent.api.status.document import DeliveryFigures, number
from agent.cli.client import AGENT, AgentClient, agent_client
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.printing import count, say
from sync.runtime.cli.program import ExitCode
from sync.runtime.cli.progress import countdown

_POLL_SECONDS = 0.2
# States in `GET /agent/v1/status` after a failed pass with no success since, or after one that left
# nothing but captures on which head office gives no verdict.
_ENDED = ("retrying", "holding", "idle")
_NO_VERDICT = "no verdict of head office on them, though it answers other requests"


def sync(
    config: ConfigFile = None,
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until no captures are pending or delivery fails.")
    ] = False,
) -> None:
    """Deliver pending captures now.

    Skips a pending retry delay and quiet hours. With --wait the exit code is 1 if captures are
    still pending or there are dead letters.
    """
    with agent_client(config) as client:
        if not wait:
            client.request("POST", "/agent/v1/sync")
            say("Delivery is triggered.")
            return
        status = _deliver_and_wait(client)
    raise typer.Exit(_print_result(status))


def _deliver_and_wait(client: AgentClient) -> dict[str, object]:
    """Show progress until no captures are pending or a pass has failed; return the last status."""
    status = client.status().members
    triggered = client.request("POST", "/agent/v1/sync?pace=full").members
    passes_before = DeliveryFigures(triggered).passes
    with countdown("Delivering") as show:
        while True:
            if (waiting := number(status, "waiting")) is not None:
                show(waiting)
            delivery = DeliveryFigures.of(status)
            has_passed = delivery.passes > passes_before
            if waiting == 0 or (has_passed and delivery.state in _ENDED):
                return status
            time.sleep(_POLL_SECONDS)
            status = client.status().members


def _print_result(status: dict[str, object]) -> ExitCode:
    waiting, dead_letters = number(status, "waiting"), number(status, "deadLetters")
    if waiting == 0:
        say("No captures are pending.")
    else:
        pending = "unknown" if waiting is None else count(waiting, "capture")
        delivery = DeliveryFigures.of(status)
        cause = _NO_VERDICT if delivery.state == "idle" else delivery.cause
        AGENT.warn(f"still pending: {pending}; cause: {cause}")
    if dead_letters:
        rejected = count(dead_letters, "capture")
        AGENT.warn(f"rejected: {rejected}; see {AGENT.name} dead-letters list")
    return ExitCode.OK if waiting == 0 and not dead_letters else ExitCode.PROBLEM
