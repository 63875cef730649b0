"""Prints the findings of `doctor`, and turns them into an exit code."""

import sys
from collections.abc import Sequence
from dataclasses import asdict

from rich.text import Text

from sync.runtime.checks.check import CONFIGURATION, Check, Verdict, fault, worst
from sync.runtime.cli.printing import (
    count,
    echo_fields,
    echo_json,
    label,
    one_line,
    print_table,
    say,
)
from sync.runtime.cli.program import ExitCode
from sync.runtime.cli.translation import in_language
from sync.runtime.settings.setting_errors import ConfigurationError

_STYLES = {Verdict.PASS: "green", Verdict.WARNING: "yellow", Verdict.FAULT: "bold red"}
_EXIT_CODES = {
    Verdict.PASS: ExitCode.OK,
    Verdict.WARNING: ExitCode.WARNING,
    Verdict.FAULT: ExitCode.PROBLEM,
}


def print_findings(checks: Sequence[Check], *, as_json: bool) -> None:
    """Print a table with advice on a terminal, tab-separated lines in a pipe, or JSON.

    In the language of the locale, except JSON, and verdict and name in a pipe.
    """
    if as_json:
        found = {"verdict": worst(checks), "checks": [asdict(check) for check in checks]}
        echo_json(found, indent=2)
    elif sys.stdout.isatty():
        _print_table(checks)
    else:
        for check in checks:
            echo_fields([check.verdict, check.name, *_sentences(check)])


def with_rejected(
    checks: Sequence[Check], wrong: ConfigurationError | None, since: str, program_name: str
) -> list[Check]:
    """Return `checks`, with the errors of a rejected configuration in place of the one in use."""
    if wrong is None:
        return list(checks)
    errors = "; ".join(map(str, wrong.errors))
    advice = (
        f"correct the file, then: systemctl reload {program_name}. The other findings are about"
        f" the last configuration that worked, that of {since}"
    )
    rejected = fault(CONFIGURATION, errors, advice)
    return [rejected, *(check for check in checks if check.name != CONFIGURATION)]


def exit_code_of(checks: Sequence[Check]) -> ExitCode:
    """Return 0 if all passed, 3 for warnings alone, 1 for a fault, 2 for a wrong configuration."""
    if any(c.name == CONFIGURATION and c.verdict is Verdict.FAULT for c in checks):
        return ExitCode.USAGE
    return _EXIT_CODES[worst(checks)]


def _sentences(check: Check) -> list[str]:
    return [one_line(in_language(text)) for text in (check.found, check.advice)]


def _print_table(checks: Sequence[Check]) -> None:
    rows = []
    for check in checks:
        found, advice = _sentences(check)
        shown = Text(found)
        if advice:
            shown.append(f"\n> {advice}", style="bold")
        verdict, name = label(check.verdict), label(check.name)
        rows.append([Text(verdict, style=_STYLES[check.verdict]), Text(name), shown])
    print_table(rows)
    say(_summary(checks))


def _summary(checks: Sequence[Check]) -> str:
    faults = sum(check.verdict is Verdict.FAULT for check in checks)
    warnings = sum(check.verdict is Verdict.WARNING for check in checks)
    if not faults and not warnings:
        return "\nNo problems found."
    found = f"{count(faults, 'fault')}, {count(warnings, 'warning')}"
    return f"\n{found}: the lines with > say how to fix them."
