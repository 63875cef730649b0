"""The commands themselves; each imports what it needs when it runs, so that `--help` is quick."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agent.config import Settings

_NAME = "loyalty-agent"


class ExitCode(IntEnum):
    """What the agent's commands tell a script."""

    FINE = 0
    TROUBLE = 1
    WRONG_USE = 2


ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The configuration file (TOML)."),
]

app = typer.Typer(
    name=_NAME,
    add_completion=False,
    no_args_is_help=True,
    # The library's own decoration costs a third of the start-up time, and its tracebacks show
    # local variables.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command given on the command line and end the process with its exit code."""
    app(prog_name=_NAME)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the value alone
    if wanted:
        from sync.version import installed_version  # noqa: PLC0415 - needed by this option only

        typer.echo(f"{_NAME} {installed_version()}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    config: ConfigFile = None,
    *,
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Take loyalty captures from tills, with or without a line to head office."""
    context.obj = config


@app.command()
def run(context: typer.Context, config: ConfigFile = None) -> None:
    """Serve the tills until told to stop."""
    settings = _settings(context, config)
    from sync.logs import configure_logging  # noqa: PLC0415 - keeps --help quick

    configure_logging(settings.log.level, settings.log.format)
    # What is loaded stays: looking through it for garbage costs a tenth of the start.
    gc.disable()
    from agent.service import run_agent  # noqa: PLC0415 - loads the whole agent

    gc.freeze()
    gc.enable()
    with _wrong_configuration_ends_it():
        raise SystemExit(run_agent(settings))


@app.command("check-config")
def check_config(context: typer.Context, config: ConfigFile = None) -> None:
    """Check the configuration.

    The files that it names are looked at as well; then the settings that differ from the
    default are shown. Nothing is changed.
    """
    settings = _settings(context, config)
    from agent.cli.printing import print_values  # noqa: PLC0415 - keeps --help quick
    from agent.config import changed_settings, check_files  # noqa: PLC0415 - as above

    with _wrong_configuration_ends_it():
        check_files(settings)
    path = config or context.obj
    typer.echo(f"The configuration is fine: {path or 'no file, only defaults and environment'}.")
    print_values("Settings that differ from the default", changed_settings(settings, os.environ))


@app.command()
def status(
    context: typer.Context,
    config: ConfigFile = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the agent's own JSON.")] = False,
) -> None:
    """Ask the running agent how it is.

    The exit code is 1 when the agent is not reached, or its storage is not ready.
    """
    settings = _settings(context, config)
    from agent.cli.asking import AgentNotReachedError, ask_status  # noqa: PLC0415 - as above
    from agent.cli.printing import flatten, print_values  # noqa: PLC0415 - as above

    try:
        with _wrong_configuration_ends_it():
            answer = ask_status(settings)
    except AgentNotReachedError as trouble:
        typer.echo(f"{_NAME}: {trouble}", err=True)
        raise typer.Exit(ExitCode.TROUBLE) from None
    values = flatten(answer.values)
    if as_json:
        typer.echo(answer.text)
    else:
        print_values("Status of the agent", values)
    raise typer.Exit(ExitCode.FINE if values.get("storage.state") == "ready" else ExitCode.TROUBLE)


def _settings(context: typer.Context, config: Path | None) -> "Settings":
    """Return the settings; `--config` counts before the command and after it."""
    from agent.config import load_settings  # noqa: PLC0415 - keeps --help quick

    with _wrong_configuration_ends_it():
        return load_settings(config or context.obj, os.environ)


@contextmanager
def _wrong_configuration_ends_it() -> Iterator[None]:
    from agent.config import ConfigurationError  # noqa: PLC0415 - keeps --help quick

    try:
        yield
    except ConfigurationError as error:
        typer.echo(f"{_NAME}: {error}", err=True)
        raise typer.Exit(ExitCode.WRONG_USE) from None
