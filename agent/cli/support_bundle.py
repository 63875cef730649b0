"""`loyalty-agent support-bundle`: collect diagnostics in an archive without secrets."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.client import AGENT, status_or_reason
from agent.cli.doctor import check_this_machine
from agent.support_bundle.bundle import bundle_files, write_bundle
from sync.runtime.checks.units import run_command
from sync.runtime.cli.command_group import ConfigFile, NewState
from sync.runtime.cli.printing import say
from sync.runtime.cli.program import ExitCode
from sync.runtime.cli.progress import current_step


def support_bundle(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The archive to create, a .tar.gz file.")
    ],
    config: ConfigFile = None,
    *,
    new: NewState = False,
) -> None:
    """Write an archive with diagnostics for support.

    It holds versions, settings, status, the results of doctor, database statistics and recent
    log lines. It never holds an e-mail address, a token, a key, or content sent by a till.
    """
    settings = AGENT.settings(config, new=new)
    if file.exists() or file.is_symlink():
        AGENT.fail(f"{file} exists already: choose another name", ExitCode.USAGE)
    if not file.parent.is_dir():
        AGENT.fail(f"{file.parent} is not a directory", ExitCode.USAGE)
    now = datetime.now(UTC)
    with current_step("Checking the settings") as show:
        checks = check_this_machine(settings, show)
        show("Reading the database and the log")
        files = bundle_files(settings, checks, status_or_reason(settings), now, run_command)
    try:
        write_bundle(file, files, at_seconds=int(now.timestamp()))
    except OSError as error:
        AGENT.fail(f"cannot write {file} ({error.strerror or type(error).__name__})")
    say(f"{file} contains {', '.join(files)}.")
    say("It contains no e-mail addresses, tokens or keys.")
