"""`loyalty-agent join`: join head office with the code that `loyalty-hq enroll --url` printed."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from agent.cli.client import AGENT, AgentClient
from agent.cli.join.first_delivery import Waiting
from agent.config import load_settings
from agent.joining.files import (
    ConfigurationChangedError,
    JoinInProgressError,
    read_configuration,
)
from agent.joining.join import Joining, token_setting
from agent.joining.plan import Place, Plan, joined_elsewhere
from agent.joining.registration import HeadOffice, RegistrationError
from agent.joining.restart_service import Restart, exit_code_of, restart_service
from sync.protocol.join_code import MAX_CHARACTERS, JoinCode, JoinCodeError, parse_join_code
from sync.runtime.cli.command_group import ConfigFile
from sync.runtime.cli.discovery import Configuration, Origin, is_installed
from sync.runtime.cli.printing import say
from sync.runtime.cli.program import ExitCode
from sync.runtime.cli.progress import current_step
from sync.runtime.settings.toml_edit import TomlEditError

_CODE_FILE_BYTES = 4 * MAX_CHARACTERS


def join(
    code: Annotated[
        str | None,
        typer.Argument(metavar="[CODE]", help="The join code; without: from standard input."),
    ] = None,
    config: ConfigFile = None,
    *,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Read the join code from this file.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also if this machine has joined another head office.")
    ] = False,
) -> None:
    """Join head office with the code that it printed.

    Registers a token, writes the settings, restarts the service and reports the first delivery.
    While the command runs, every user of this machine can see a code on the command line, but not
    one from standard input or a file. Comments and other settings stay. Captures taken before are
    delivered under the new name. After an interruption, run the same command again.
    """
    joining = _joining(_read_code(code, file), config)
    settings = joining.place.settings
    elsewhere = list(joined_elsewhere(joining.code, settings))
    if elsewhere and not force:
        _refuse_other(elsewhere)
    token_file = _run(joining).token_file
    restart = restart_service(exit_code_of, is_service=joining.place.is_service)
    if restart is not Restart.DONE:
        _report_without_service(joining, restart)
    with AGENT.exit_on_configuration_error():
        settings = load_settings(joining.place.config, joining.environ)
    refusal = partial(joining.refusal, token_file, settings.central.ca_file)
    with current_step("Joining") as show:
        found = Waiting(AgentClient(settings), joining.code, show, refusal).wait()
    if not found.is_confirmed:
        AGENT.fail(
            f"{_joined(joining.code)}, but {found.text}. Nothing is lost, and delivery is tried"
            " again by itself: see loyalty-agent doctor"
        )
    say(f"{_joined(joining.code)}. {found.text}")


def _run(joining: Joining) -> Plan:
    try:
        with AGENT.exit_on_configuration_error(), current_step("Joining") as show:
            office = HeadOffice(joining.code, joining.place.settings, say=AGENT.warn)
            return joining.run(office, show)
    except RegistrationError as error:
        AGENT.fail(str(error))
    except TomlEditError as error:
        lines = f"{joining.place.config}: {error}"
        AGENT.fail(f"{lines}. Nothing was changed", ExitCode.USAGE)
    except JoinInProgressError:
        AGENT.fail("another join is running on this machine: wait until it has ended")
    except ConfigurationChangedError:
        AGENT.fail(f"{joining.place.config} was changed meanwhile: run the same command again")
    except PermissionError as error:
        AGENT.fail(f"cannot write {error.filename} ({error.strerror}): run the command as root")
    except OSError as error:
        AGENT.fail(f"cannot write {error.filename} ({error.strerror})")
    except KeyboardInterrupt:
        AGENT.fail("interrupted: run the same command again to continue")


def _joining(code: JoinCode, config: Path | None) -> Joining:
    """Return the join, with the configuration that the service uses, or a new file."""
    if config is not None and not config.exists():
        found = Configuration(config, Origin.GIVEN, {})
        with AGENT.exit_on_configuration_error():
            settings = load_settings(None, found.environ)
    else:
        found, settings = AGENT.configuration(config)
    if found.file is None:
        AGENT.fail(
            "no service is installed here: name the agent's configuration with --config FILE (a"
            " new file is made)",
            ExitCode.USAGE,
        )
    say(f"Configuration: {found}", err=True)
    text = read_configuration(found.file)
    is_service = is_installed(AGENT.name, found.file)
    place = Place(found.file, settings, token_setting(text), is_service=is_service)
    return Joining(code, place, AGENT.name, found.environ)


def _read_code(given: str | None, file: Path | None) -> JoinCode:
    if given is not None and file is not None:
        raise typer.BadParameter("expected CODE or --file FILE, not both")
    try:
        text = given if given not in {None, "-"} else _code_text(file)
        return parse_join_code(text or "")
    except JoinCodeError as error:
        AGENT.fail(str(error), ExitCode.USAGE)


def _code_text(file: Path | None) -> str:
    if file is None and sys.stdin is not None and sys.stdin.isatty():
        return str(typer.prompt("Join code", err=True))
    try:
        if file is not None:
            with file.open("rb") as opened:
                content = opened.read(_CODE_FILE_BYTES)
        else:
            content = sys.stdin.buffer.read(_CODE_FILE_BYTES) if sys.stdin else b""
    except OSError as error:
        AGENT.fail(f"cannot read {file or 'standard input'} ({error.strerror})", ExitCode.USAGE)
    return content.decode("utf-8", "replace")


def _refuse_other(elsewhere: list[str]) -> NoReturn:
    AGENT.fail(
        "this machine has joined head office under another name or address: "
        + "; ".join(elsewhere)
        + ". Captures that wait here would be delivered as the code says. If that is meant, use"
        " --force. Nothing was changed",
        ExitCode.USAGE,
    )


def _report_without_service(joining: Joining, restart: Restart) -> NoReturn:
    config = joining.place.config
    if restart is Restart.FAILED:
        AGENT.fail(
            f"{_joined(joining.code)}, but the service did not restart: see journalctl -u"
            " loyalty-agent"
        )
    start = "systemctl enable --now loyalty-agent"
    if not joining.place.is_service:
        start = f"loyalty-agent --config {config} run"
    say(
        f"{_joined(joining.code)}: the settings are in {config}. Start the agent, or restart it if"
        f" it is running: {start}"
    )
    raise typer.Exit


def _joined(code: JoinCode) -> str:
    return f"Joined {code.url} as {code.store_id}/{code.till_id}"
