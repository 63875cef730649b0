"""`loyalty-agent support-bundle`: collect diagnostics in an archive without secrets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.arguments import NAME, ConfigFile, ExitCode, settings_of
from agent.cli.doctor import examined
from agent.cli.spinner import watching

if TYPE_CHECKING:
    from agent.config import Settings
    from agent.doctor.checkup import Show
    from agent.support_bundle import Known, Moment


def support_bundle(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to: a name in .tar.gz.")],
    config: ConfigFile = None,
) -> None:
    """Write an archive with diagnostics for support.

    It holds versions, settings, status, the results of doctor, database statistics and recent
    log lines. It never holds an e-mail address, a token, a key, or content sent by a till.
    """
    settings = settings_of(context, config)
    _check_place(file)
    from agent.doctor.systemd_units import run_command  # noqa: PLC0415 - as above
    from agent.support_bundle import contents, write_bundle  # noqa: PLC0415 - keeps --help quick
    from sync.runtime.version import installed_version  # noqa: PLC0415 - as above

    with watching("the settings") as show:
        moment, known = _moment(), _known(settings, show)
        show("the database and the log")
        members = contents(settings, known, moment, version=installed_version(), run=run_command)
    try:
        write_bundle(file, members, at_seconds=int(moment.now.timestamp()))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        typer.echo(f"{NAME}: {file} cannot be written ({reason})", err=True)
        raise typer.Exit(ExitCode.TROUBLE) from None
    typer.echo(f"{file} holds {', '.join(members)}.")
    typer.echo("No e-mail address, no token, no key is in it.")


def _check_place(file: Path) -> None:
    """Exit with code 2 if `file` exists or its directory does not."""
    if file.exists() or file.is_symlink():
        wrong = f"{file} is there already: give another name"
    elif not file.parent.is_dir():
        wrong = f"{file.parent} is not a directory"
    else:
        return
    typer.echo(f"{NAME}: {wrong}", err=True)
    raise typer.Exit(ExitCode.WRONG_USE)


def _known(settings: "Settings", show: "Show") -> "Known":
    from agent.cli.client import (  # noqa: PLC0415 - as above
        AgentNotReachedError,
        RequestRefusedError,
        ask_status,
    )
    from agent.config import ConfigurationError  # noqa: PLC0415 - as above
    from agent.support_bundle import Known  # noqa: PLC0415 - as above

    checks = examined(settings, show)
    try:
        return Known(checks, ask_status(settings).members)
    except (AgentNotReachedError, RequestRefusedError, ConfigurationError) as trouble:
        return Known(checks, {}, unreached=str(trouble))


def _moment() -> "Moment":
    from datetime import UTC, datetime  # noqa: PLC0415 - as above

    from agent.support_bundle import Moment  # noqa: PLC0415 - as above

    now = datetime.now(UTC)
    return Moment(now, now.astimezone().strftime("%Z %z"))
