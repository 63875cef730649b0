"""`loyalty-agent status`: print the status of the running agent."""

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from agent.api.status.view import Level, Status
from agent.cli.client import agent_client
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.printing import echo_json_text, flatten, one_line, print_values
from sync.runtime.cli.program import ExitCode

_COLOURS = {Level.OK: "green", Level.NOTE: "yellow", Level.ALARM: "red"}


def status(
    config: ConfigFile = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the agent's own JSON.")] = False,
) -> None:
    """Show the status of the running agent.

    The exit code is 1 if the agent is unreachable, cannot take captures, has lost some, or is
    rejected by head office.
    """
    with agent_client(config) as client:
        response = client.status()
    values = flatten(response.members)
    if as_json:
        echo_json_text(response.text)
    elif sys.stdout.isatty():
        _show(Status(response.members))
    else:
        print_values("Status of the agent", values)
    is_ok = values.get("storage.state") == "ready" and values.get("sync.state") != "holding"
    is_ok = is_ok and not Status(response.members).has_lost
    raise typer.Exit(ExitCode.OK if is_ok else ExitCode.PROBLEM)


def _show(status: Status) -> None:
    console = Console()
    for headline in status.headlines():
        # Rich wraps at word boundaries; with typer.echo the terminal would break within a word.
        style = f"bold {_COLOURS[headline.level]}"
        console.print(Text(one_line(headline.text), style=style))
    for title, figures in status.figures().items():
        print_values(f"\n{title}", figures)
