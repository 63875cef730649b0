"""`loyalty-agent doctor`: run all checks and print findings with advice."""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from agent.cli.client import AGENT
from agent.config import Settings
from agent.doctor.check import Check, Verdict, worst
from agent.doctor.checkup import Instruments, Show, run_checks
from agent.doctor.configuration import CONFIGURATION
from agent.doctor.systemd_units import run_command
from sync.runtime.cli.command_group import ConfigFile, NewState
from sync.runtime.cli.printing import count, echo, echo_fields, echo_json, one_line, print_table
from sync.runtime.cli.program import ExitCode
from sync.runtime.cli.progress import current_step

_STYLES = {Verdict.PASS: "green", Verdict.WARNING: "yellow", Verdict.FAULT: "bold red"}
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

    Works with and without a running agent; nothing is changed. The exit code is 1 for a warning
    or a fault, 2 for a wrong configuration.
    """
    settings = AGENT.settings(config, new=new)
    with current_step("Checking the settings") as show:
        checks = check_this_machine(settings, show, thorough=thorough)
    if as_json:
        found = {"verdict": worst(checks), "checks": [asdict(check) for check in checks]}
        echo_json(found, indent=2)
    elif sys.stdout.isatty():
        _print_table(checks)
    else:
        for check in checks:
            echo_fields(_fields(check))
    raise typer.Exit(_exit_code(checks))


def check_this_machine(settings: Settings, show: Show, *, thorough: bool = False) -> list[Check]:
    """Run all checks with the real clocks and files of this machine."""
    instruments = Instruments(
        now=lambda: datetime.now(UTC),
        seconds=time.perf_counter,
        run=run_command,
        integrity_seconds=_THOROUGH_SECONDS if thorough else _QUICK_SECONDS,
    )
    return run_checks(settings, instruments, show)


def _fields(check: Check) -> list[str]:
    return [one_line(p) for p in (check.verdict, check.name, check.found, check.advice)]


def _print_table(checks: Sequence[Check]) -> None:
    rows = []
    for check in checks:
        verdict, name, found, advice = _fields(check)
        shown = Text(found)
        if advice:
            shown.append(f"\n> {advice}", style="bold")
        rows.append([Text(verdict, style=_STYLES[check.verdict]), Text(name), shown])
    print_table(rows)
    echo(_summary(checks))


def _summary(checks: Sequence[Check]) -> str:
    faults = sum(check.verdict is Verdict.FAULT for check in checks)
    warnings = sum(check.verdict is Verdict.WARNING for check in checks)
    if not faults and not warnings:
        return "\nNo problems found."
    found = f"{count(faults, 'fault')}, {count(warnings, 'warning')}"
    return f"\n{found}: the lines with > say how to fix them."


def _exit_code(checks: Sequence[Check]) -> ExitCode:
    if any(c.name == CONFIGURATION and c.verdict is Verdict.FAULT for c in checks):
        return ExitCode.USAGE
    return ExitCode.OK if worst(checks) is Verdict.PASS else ExitCode.PROBLEM
