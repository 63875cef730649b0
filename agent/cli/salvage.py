"""`loyalty-agent salvage`: bring the captures of a database file into the running agent."""

import math
import time
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.client import AGENT, status_or_reason
from agent.config import Settings
from agent.store.files.quarantine import copy_into_quarantine, has_content
from agent.store.files.storage_errors import free_bytes
from sync.runtime.cli.command_group import ConfigFile, NewState
from sync.runtime.cli.printing import count, say
from sync.runtime.cli.program import ExitCode
from sync.runtime.cli.progress import current_step

_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 10.0
# Of a database, and of a WAL in either byte order of its checksums.
_BEGINNINGS = (b"SQLite format 3\0", b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")


def salvage(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A database file (agent.db), or only its WAL.")
    ],
    config: ConfigFile = None,
    *,
    new: NewState = False,
) -> None:
    """Salvage the captures of a database file.

    For a file of a broken disk or an old backup; databases in set-aside/ are salvaged without this
    command. FILE is copied and not changed. What was delivered already is not recorded again. The
    exit code is 1 if captures are unreadable, if none is found and FILE does not begin as a
    database, or if the agent does not run.
    """
    settings = AGENT.settings(config, new=new)
    directory = settings.storage.directory
    try:
        if not has_content(file):
            AGENT.fail(f"{file} is empty or does not exist", ExitCode.USAGE)
        if directory.resolve() in file.resolve().parents:
            AGENT.fail(f"{file} is in the agent's own directory", ExitCode.USAGE)
        before = _counts(settings)
        name = copy_into_quarantine(file, directory, time.time_ns() // 1000)
    except OSError as error:
        AGENT.fail(f"cannot copy {file} to {directory} ({error.strerror or error})")
    say(f"{file} is copied to set-aside/{name}.")
    if isinstance(before, str):
        AGENT.warn(f"it is salvaged when the agent runs: {before}")
        raise typer.Exit(ExitCode.PROBLEM)
    salvaged, lost = _wait(settings, before, file)
    if not salvaged and not _begins_as_database(file):
        AGENT.warn(
            f"{file} does not begin as a database: its beginning is damaged, or it is another file"
            " (an archive? unpack it first). Do not take it for salvaged"
        )
        raise typer.Exit(ExitCode.PROBLEM)
    raise typer.Exit(ExitCode.PROBLEM if lost else ExitCode.OK)


def _counts(settings: Settings) -> dict[str, int] | str:
    """Return the counts of the running agent, or why it cannot be asked."""
    if isinstance(status := status_or_reason(settings), str):
        return status
    storage = status.get("storage")
    found = storage.get("salvage") if isinstance(storage, dict) else None
    return found if isinstance(found, dict) else "its database cannot be read"


def _cause_of_wait(settings: Settings, file: Path) -> str:
    directory = settings.storage.directory
    lacking = settings.storage.min_free_bytes + file.stat().st_size - free_bytes(directory)
    cause = "the agent reads it, or tries again by itself; why, is in its log (salvage.postponed)"
    if lacking > 0:
        cause = f"{-(-lacking // 2**20):,} MiB more must be free for it in {directory}"
    return f"not all is read yet: {cause}. You can end this command: the salvage goes on without it"


def _begins_as_database(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(16).startswith(_BEGINNINGS)


def _wait(settings: Settings, before: dict[str, int], file: Path) -> tuple[int, int]:
    """Wait until the agent has read all quarantined files; print and return the counts."""
    say_at: float = time.monotonic() + _PATIENCE_SECONDS
    with current_step("Salvaging"):
        time.sleep(_POLL_SECONDS)
        while isinstance(now := _counts(settings), dict) and now["pending"]:
            if time.monotonic() >= say_at:
                AGENT.warn(_cause_of_wait(settings, file))
                say_at = math.inf
            time.sleep(_POLL_SECONDS)
    if isinstance(now, str):
        AGENT.fail(f"the agent does not answer any more: {now}")
    salvaged, lost = (now[name] - before[name] for name in ("salvaged", "unreadable"))
    say(f"Salvaged: {count(salvaged, 'capture')} that the agent did not have.")
    if lost:
        AGENT.warn(f"unreadable: {count(lost, 'capture')}")
    return salvaged, lost
