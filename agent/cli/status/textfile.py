"""`status --format prometheus`: the metrics, on standard output or as a file of node_exporter."""

from enum import StrEnum
from pathlib import Path

import typer

from agent.cli.client import AGENT, AgentError
from agent.cli.status.source import find_metrics
from agent.config import Settings
from sync.runtime.cli.printing import echo
from sync.runtime.cli.program import ExitCode
from sync.runtime.files.atomic_file import atomic_file

_SUFFIX = ".prom"
# The collector runs as another user.
_MODE = 0o644


class StatusFormat(StrEnum):
    """Formats of the status beside its own."""

    NAGIOS = "nagios"
    PROMETHEUS = "prometheus"


def print_metrics(settings: Settings, output: Path | None) -> None:
    """Print the metrics, or replace the file `output` by them.

    An agent that does not run is a value (`loyalty_agent_ready` 0), not an error: the collector
    needs the file. Without any metrics the file stays as it is, and its age tells.
    """
    if output is not None and output.suffix != _SUFFIX:
        AGENT.fail(f"{output}: node_exporter reads files named *{_SUFFIX}", ExitCode.USAGE)
    try:
        with AGENT.exit_on_configuration_error():
            text, error = find_metrics(settings)
    except AgentError as rejected:
        AGENT.fail(str(rejected))
    if error is not None:
        AGENT.warn(error)
    if output is None:
        echo(text.rstrip("\n"))
        return
    try:
        with atomic_file(output, _MODE) as file:
            file.write(text.encode())
    except OSError as failed:
        AGENT.fail(f"cannot write {output} ({failed.strerror or failed})")
    raise typer.Exit(ExitCode.OK)
