"""`loyalty-agent doctor`: run all checks and print findings with advice."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.arguments import ConfigFile, ExitCode, settings_of
from agent.cli.spinner import watching

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.config import Settings
    from agent.doctor import Check
    from agent.doctor.checkup import Show

_STYLES = {"pass": "green", "warning": "yellow", "fault": "bold red"}
_THOROUGH_SECONDS = 3_600.0


def doctor(
    context: typer.Context,
    config: ConfigFile = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Take up to an hour for a large database.")
    ] = False,
) -> None:
    """Check this machine and advise how to fix faults.

    Works with and without a running agent; nothing is changed. The exit code is 1 for a warning
    or a fault, 2 for a wrong configuration.
    """
    settings = settings_of(context, config)
    with watching("the settings") as show:
        checks = examined(settings, show, thorough=thorough)
    if as_json:
        typer.echo(findings_json(checks))
    else:
        _print(checks)
    raise typer.Exit(_exit_code(checks))


def examined(settings: "Settings", show: "Show", *, thorough: bool = False) -> "list[Check]":
    """Run all checks with the real clocks and files of this machine."""
    import time  # noqa: PLC0415 - keeps --help quick
    from datetime import UTC, datetime  # noqa: PLC0415 - as above

    from agent.doctor import Instruments, examine  # noqa: PLC0415 - as above
    from agent.doctor.systemd_units import run_command  # noqa: PLC0415 - as above

    tools = Instruments(lambda: datetime.now(UTC), time.perf_counter, run_command)
    if thorough:
        from dataclasses import replace  # noqa: PLC0415 - as above

        tools = replace(tools, integrity_seconds=_THOROUGH_SECONDS)
    return examine(settings, tools, show)


def findings_json(checks: "Sequence[Check]") -> str:
    """Return the findings as a JSON object: the worst verdict, then each check."""
    import json  # noqa: PLC0415 - as above
    from dataclasses import asdict  # noqa: PLC0415 - as above

    from agent.doctor import worst  # noqa: PLC0415 - as above

    found = {"verdict": worst(checks), "checks": [asdict(check) for check in checks]}
    return json.dumps(found, ensure_ascii=False, indent=2)


def _print(checks: "Sequence[Check]") -> None:
    if sys.stdout.isatty():
        _print_table(checks)
    else:
        for check in checks:
            typer.echo("\t".join(_parts(check)))


def _parts(check: "Check") -> list[str]:
    from agent.cli.printing import in_one_line  # noqa: PLC0415 - as above

    return [in_one_line(str(p)) for p in (check.verdict, check.name, check.found, check.advice)]


def _print_table(checks: "Sequence[Check]") -> None:
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        verdict, name, found, advice = _parts(check)
        # Text does not interpret square brackets in a value as markup.
        shown = Text(found)
        if advice:
            shown.append(f"\n> {advice}", style="bold")
        table.add_row(Text(verdict, style=_STYLES[verdict]), Text(name), shown)
    Console().print(table)
    typer.echo(_summary(checks))


def _summary(checks: "Sequence[Check]") -> str:
    counts = {verdict: sum(check.verdict == verdict for check in checks) for verdict in _STYLES}
    if counts["pass"] == len(checks):
        return "\nAll is well."
    faults = "1 fault" if counts["fault"] == 1 else f"{counts['fault']} faults"
    warnings = "1 warning" if counts["warning"] == 1 else f"{counts['warning']} warnings"
    return f"\n{faults}, {warnings}: what to do stands behind >."


def _exit_code(checks: "Sequence[Check]") -> ExitCode:
    from agent.doctor import CONFIGURATION, Verdict, worst  # noqa: PLC0415 - as above

    if any(c.name == CONFIGURATION and c.verdict is Verdict.FAULT for c in checks):
        return ExitCode.WRONG_USE
    return ExitCode.FINE if worst(checks) is Verdict.PASS else ExitCode.TROUBLE
