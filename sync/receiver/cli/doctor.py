"""`loyalty-hq doctor`: run all checks of head office and print findings with advice."""

import os
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import typer

from sync.receiver.cli.hq import HEAD_OFFICE
from sync.receiver.doctor.checkup import run_checks
from sync.runtime.checks.units import run_command
from sync.runtime.cli.command_group import ConfigFile, NewState
from sync.runtime.cli.findings import exit_code_of, print_findings, with_rejected
from sync.runtime.cli.progress import current_step


def doctor(
    config: ConfigFile = None,
    *,
    new: NewState = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check head office and advise how to fix faults.

    Checks the settings, this machine and the database; works with and without a running receiver,
    and changes nothing. The exit code is 0 if all checks pass, 1 for a fault, 2 for a wrong
    configuration, 3 for warnings alone. If the service runs with an earlier configuration because
    the present one is wrong, the other findings are about the earlier one.
    """
    in_use = HEAD_OFFICE.settings_in_use(config, new=new)
    with current_step("Checking the settings") as show:
        now = partial(datetime.now, UTC)
        checks = run_checks(in_use.settings, os.environ, now, run_command, show)
    checks = with_rejected(checks, in_use.wrong, in_use.since, HEAD_OFFICE.name)
    print_findings(checks, as_json=as_json)
    raise typer.Exit(exit_code_of(checks))
