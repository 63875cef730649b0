"""The command group. Each command imports its dependencies when it runs: `--help` stays fast."""

import gc
import os
from typing import Annotated

import typer

from agent.cli import dead_letters, doctor, drill, status, sync
from agent.cli import support_bundle as bundle
from agent.cli.arguments import (
    NAME,
    ConfigFile,
    settings_of,
    wrong_configuration_ends_it,
)

app = typer.Typer(
    name=NAME,
    add_completion=False,
    no_args_is_help=True,
    # Rich markup costs a third of the start-up time; rich tracebacks show local variables.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command from the command line and exit the process with its exit code."""
    app(prog_name=NAME)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the value alone
    if wanted:
        from sync.runtime.version import installed_version  # noqa: PLC0415 - needed by this option only

        typer.echo(f"{NAME} {installed_version()}")
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
    """Accept loyalty captures from tills, online or offline."""
    context.obj = config


@app.command()
def run(context: typer.Context, config: ConfigFile = None) -> None:
    """Serve the tills until SIGTERM or SIGINT."""
    settings = settings_of(context, config)
    from sync.runtime.excepthooks import log_what_nobody_catches  # noqa: PLC0415 - as above
    from sync.runtime.logging import configure_logging  # noqa: PLC0415 - keeps --help quick

    configure_logging(settings.log.level, settings.log.format)
    log_what_nobody_catches()
    # Imported modules are never garbage; collecting during the import costs 10 % of the start.
    gc.disable()
    from agent.service import run_agent  # noqa: PLC0415 - loads the whole agent

    gc.freeze()
    gc.enable()
    with wrong_configuration_ends_it():
        raise SystemExit(run_agent(settings))


@app.command("check-config")
def check_config(context: typer.Context, config: ConfigFile = None) -> None:
    """Check the configuration and the files that it names.

    Then print the settings that differ from their defaults. Nothing is changed.
    """
    settings = settings_of(context, config)
    from agent.cli.printing import print_values  # noqa: PLC0415 - keeps --help quick
    from agent.config import changed_settings, check_files  # noqa: PLC0415 - as above

    with wrong_configuration_ends_it():
        check_files(settings)
    path = config or context.obj
    typer.echo(f"The configuration is fine: {path or 'no file, only defaults and environment'}.")
    print_values("Settings that differ from the default", changed_settings(settings, os.environ))


app.command("status")(status.status)
app.command("doctor")(doctor.doctor)
app.command("drill")(drill.drill)
app.command("support-bundle")(bundle.support_bundle)
app.command("sync")(sync.sync)
app.add_typer(dead_letters.dead_letters, name="dead-letters")
