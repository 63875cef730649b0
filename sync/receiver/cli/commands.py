"""The command group. Each command imports its dependencies when it runs: `--help` stays fast."""

from typing import Annotated

import typer

from sync.receiver.cli import completeness, enrolment, export, stores
from sync.receiver.cli import forget as forgetting
from sync.receiver.cli.arguments import (
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
    """Receive the captures of all stores at head office."""
    context.obj = config


@app.command()
def serve(context: typer.Context, config: ConfigFile = None) -> None:
    """Receive captures until SIGTERM or SIGINT."""
    settings = settings_of(context, config)
    from sync.receiver.service import run_receiver  # noqa: PLC0415 - as above
    from sync.runtime.excepthooks import log_what_nobody_catches  # noqa: PLC0415 - as above
    from sync.runtime.logging import configure_logging  # noqa: PLC0415 - keeps --help quick
    from sync.runtime.settings.secret_files import check_files  # noqa: PLC0415 - as above

    with wrong_configuration_ends_it():
        check_files(settings)
        configure_logging(settings.log.level, settings.log.format)
        log_what_nobody_catches()
        raise SystemExit(run_receiver(settings))


app.command("enroll")(enrolment.enroll)
app.command("stores")(stores.stores)
app.command("completeness")(completeness.completeness)
app.command("forget")(forgetting.forget)
app.command("export")(export.export)
