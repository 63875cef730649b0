"""`loyalty-agent status`: print the status of the running agent."""

import sys
from typing import Annotated

import typer

from agent.cli.client import AGENT, AgentClient, exit_on_agent_error
from agent.cli.status_view import show_status
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.printing import flatten, print_values
from sync.runtime.cli.program import ExitCode


def status(
    context: typer.Context,
    config: ConfigFile = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the agent's own JSON.")] = False,
) -> None:
    """Show the status of the running agent.

    The exit code is 1 if the agent is unreachable, cannot take captures, or is rejected by head
    office.
    """
    with exit_on_agent_error():
        response = AgentClient(AGENT.settings(context, config)).status()
    values = flatten(response.members)
    if as_json:
        typer.echo(response.text)
    elif sys.stdout.isatty():
        show_status(response.members)
    else:
        print_values("Status of the agent", values)
    is_ok = values.get("storage.state") == "ready" and values.get("sync.state") != "holding"
    raise typer.Exit(ExitCode.OK if is_ok else ExitCode.PROBLEM)
