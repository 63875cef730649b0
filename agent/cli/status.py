"""`loyalty-agent status`: print the status of the running agent."""

import sys
from typing import Annotated

import typer

from agent.cli.arguments import ConfigFile, ExitCode, settings_of, unreached_agent_ends_it


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
    settings = settings_of(context, config)
    from agent.cli.client import ask_status  # noqa: PLC0415 - keeps --help quick
    from agent.cli.printing import flatten, print_values  # noqa: PLC0415 - as above

    with unreached_agent_ends_it():
        answer = ask_status(settings)
    values = flatten(answer.members)
    if as_json:
        typer.echo(answer.text)
    elif sys.stdout.isatty():
        from agent.cli.status_view import show_status  # noqa: PLC0415 - as above

        show_status(answer.members)
    else:
        print_values("Status of the agent", values)
    is_fine = values.get("storage.state") == "ready" and values.get("sync.state") != "holding"
    raise typer.Exit(ExitCode.FINE if is_fine else ExitCode.TROUBLE)
