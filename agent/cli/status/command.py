"""The command `loyalty-agent status` and its options."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from agent.api.status.view import Level, Status
from agent.cli.client import AGENT, AgentError
from agent.cli.status.check import check_status
from agent.cli.status.source import find_status
from agent.cli.status.textfile import StatusFormat, print_metrics
from agent.cli.terminal_language import language_of_output, plain_spaces
from agent.config import Settings
from agent.monitoring.verdict import DEFAULT_MAX_AGE, Limits
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.durations import parse_duration
from sync.runtime.cli.listing import JsonOption
from sync.runtime.cli.printing import echo_json, echo_json_text, flatten, one_line, print_values
from sync.runtime.cli.program import ExitCode
from sync.runtime.i18n import DEFAULT

_COLOURS = {Level.OK: "green", Level.NOTE: "cyan", Level.WARNING: "yellow", Level.ALARM: "red"}


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


MaxAge = Annotated[
    timedelta | None,
    typer.Option(
        parser=_duration,
        metavar="D",
        help="With --check: limit of the oldest undelivered capture: 30m, 2h, 1d (default 1d).",
    ),
]
MaxWaiting = Annotated[
    int | None,
    typer.Option(min=0, metavar="N", help="With --check: limit of the undelivered captures."),
]


def status(
    config: ConfigFile = None,
    *,
    as_json: JsonOption = False,
    check: Annotated[
        bool, typer.Option("--check", help="One line and the exit code of a monitoring plugin.")
    ] = False,
    max_age: MaxAge = None,
    max_waiting: MaxWaiting = None,
    form: Annotated[
        StatusFormat | None,
        typer.Option("--format", help="nagios: as --check. prometheus: metrics."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --format prometheus: the .prom file to replace."),
    ] = None,
) -> None:
    """Show the status of the agent.

    If it does not run, from its database, which is not changed. The exit code is 1 for everything
    that needs a person: captures are not recorded, lost or rejected, or delivery is held.
    With --check it is 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN; wrong usage is UNKNOWN then.
    """
    is_check = check or form is StatusFormat.NAGIOS
    if not is_check and (max_age, max_waiting) != (None, None):
        raise typer.BadParameter("only with --check", param_hint="--max-age, --max-waiting")
    if form is StatusFormat.PROMETHEUS and (is_check or as_json):
        raise typer.BadParameter("without --check and --json", param_hint="--format prometheus")
    if output is not None and form is not StatusFormat.PROMETHEUS:
        raise typer.BadParameter("only with --format prometheus", param_hint="--output")
    if is_check:
        limit = DEFAULT_MAX_AGE if max_age is None else max_age
        check_status(config, Limits(limit, max_waiting), as_json=as_json)
    elif form is StatusFormat.PROMETHEUS:
        print_metrics(AGENT.client_settings(config), output)
    else:
        _print_status(AGENT.client_settings(config), as_json=as_json)


def _print_status(settings: Settings, *, as_json: bool) -> None:
    try:
        with AGENT.exit_on_configuration_error():
            found = find_status(settings)
    except AgentError as error:
        AGENT.fail(str(error))
    if found.error is not None:
        say = language_of_output()
        # The English text names the address and the cause, which the first headline has as well.
        unreachable = found.error if say.code == DEFAULT else say("unreachable")
        AGENT.warn(plain_spaces(unreachable))
    status = Status(found.members)
    if as_json and found.text is not None:
        echo_json_text(found.text)
    elif as_json:
        echo_json(found.members)
    elif sys.stdout.isatty():
        _show(Status(found.members, language_of_output()))
    else:
        print_values("Status of the agent", flatten(found.members))
    raise typer.Exit(ExitCode.PROBLEM if status.problems() else ExitCode.OK)


def _show(status: Status) -> None:
    console = Console()
    for headline in status.headlines():
        # Rich wraps at word boundaries; with typer.echo the terminal would break within a word.
        style = f"bold {_COLOURS[headline.level]}"
        console.print(Text(one_line(plain_spaces(headline.text)), style=style))
    for title, figures in status.figures().items():
        spaced = {plain_spaces(name): plain_spaces(text) for name, text in figures.items()}
        print_values(f"\n{plain_spaces(title)}", spaced)
