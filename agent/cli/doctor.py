"""`loyalty-agent doctor`: run all checks and print findings with advice."""

import os
import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from agent.cli.client import AGENT
from agent.config import Settings
from agent.doctor.checkup import Instruments, Show, run_checks
from sync.runtime.checks.check import Check
from sync.runtime.checks.units import run_command
from sync.runtime.checks.variables import check_variables
from sync.runtime.cli.command_group import ConfigFile, NewState
from sync.runtime.cli.findings import exit_code_of, print_findings, with_rejected
from sync.runtime.cli.progress import current_step

_QUICK_SECONDS, _THOROUGH_SECONDS = 10.0, 3_600.0


def doctor(
    config: ConfigFile = None,
    *,
    new: NewState = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    thorough: Annotated[
        bool,
        typer.Option("--thorough", help="Check a large database completely, for up to an hour."),
    ] = False,
) -> None:
    """Check this machine and advise how to fix faults.

    Works with and without a running agent; nothing is changed. The exit code is 0 if all checks
    pass, 1 for a fault, 2 for a wrong configuration, 3 for warnings alone. If the
    service runs with an earlier configuration because the present one is wrong, the other findings
    are about the earlier one.
    """
    in_use = AGENT.settings_in_use(config, new=new)
    with current_step("Checking the settings") as show:
        checks = check_this_machine(in_use.settings, show, thorough=thorough)
    checks = with_rejected(checks, in_use.wrong, in_use.since, AGENT.name)
    print_findings(checks, as_json=as_json)
    raise typer.Exit(exit_code_of(checks))


def check_this_machine(settings: Settings, show: Show, *, thorough: bool = False) -> list[Check]:
    """Run all checks with the real clocks and files of this machine."""
    instruments = Instruments(
        now=lambda: datetime.now(UTC),
        seconds=time.perf_counter,
        run=run_command,
        integrity_seconds=_THOROUGH_SECONDS if thorough else _QUICK_SECONDS,
    )
    return [*run_checks(settings, instruments, show), *check_variables(Settings, os.environ)]
