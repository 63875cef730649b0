"""The command `loyalty-agent certify`, its options and its report."""

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from agent.certify.json_report import report
from agent.certify.judgement import Judgement, TillVerdict, overall
from agent.certify.run import Certification
from agent.certify.situation_faults import SituationFaults
from agent.certify.situations import ANSWER_SECONDS, SITUATIONS, SaleLimits, Situation
from agent.certify.tested_till import CommandError, CommandTill, Till
from agent.cli.certify.view import CertificationView, PersonTill
from agent.cli.client import AGENT
from agent.cli.sandbox import SandboxPort, TillOrigins, listen_or_exit, url_of
from agent.cli.typed_lines import typed_lines
from agent.drill.processes import ProcessFailedError
from agent.sandbox.running_sandbox import run_in_scratch, running_sandbox
from sync.runtime.cli.printing import echo_json
from sync.runtime.cli.program import ExitCode
from sync.runtime.identity import installed_version

_NO_ADDRESS = (
    "the till's command has no {url}, which stands for the agent's address. The till must read that"
    " from the variable SANDBOX_URL: else its requests do not arrive here, and nothing is seen"
)
_KEYS = ", ".join(one.key for one in SITUATIONS)
TillCommand = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND",
        help="Makes one sale and exits with 0 if it is sold; {url} is the agent's address.",
    ),
]
Keys = Annotated[
    list[str] | None, typer.Option(metavar="NAME", help=f"Only this one: {_KEYS}. Repeatable.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the report as JSON; the rest goes to stderr.")
]
ReportFile = Annotated[
    Path | None, typer.Option("--report", metavar="FILE", help="Write the report as JSON.")
]
AnswerLimit = Annotated[
    float, typer.Option(min=0.1, max=60.0, help="Seconds within which a till gives up.")
]


def certify(
    *,
    till_command: TillCommand = None,
    situation: Keys = None,
    as_json: AsJson = False,
    report_file: ReportFile = None,
    answer_limit: AnswerLimit = ANSWER_SECONDS,
    port: SandboxPort = None,
    cors_origin: TillOrigins = None,
) -> None:
    """Judge a till's manners in twelve situations.

    Says step by step what to do at the till, watches its requests, and prints a verdict. With
    --till-command it runs the till's program instead. The agent is a sandbox: nothing is
    delivered. The exit code is 0 if the till passed, 1 if not or if something was not seen.
    """
    chosen, limits = _chosen(situation), SaleLimits(answer_limit)
    sockets = listen_or_exit(port)
    view = CertificationView(url_of(sockets), is_on_stderr=as_json)
    playing = _Playing(chosen, limits, till_command, view, sockets, cors_origin or [])
    judgements = _run(playing)
    at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    members = report(judgements, version=installed_version(), at=at, answer_seconds=answer_limit)
    view.sum_up(judgements)
    if report_file is not None:
        _write(report_file, json.dumps(members, indent=2) + "\n")
    if as_json:
        echo_json(members, indent=2)
    is_passed = overall(judgements) in {TillVerdict.PASSED, TillVerdict.ADVICE}
    raise typer.Exit(ExitCode.OK if is_passed else ExitCode.PROBLEM)


@dataclass(frozen=True, slots=True)
class _Playing:
    """The situations to play, the till, and the sockets of the sandbox."""

    situations: Sequence[Situation]
    limits: SaleLimits
    till_command: str | None
    view: CertificationView
    sockets: Sequence[socket.socket]
    cors_origins: Sequence[str]

    async def play(self, directory: Path) -> list[Judgement]:
        """Play in the scratch directory. Raises `CommandError` and `ProcessFailedError`."""
        if self.till_command is not None:
            till = CommandTill(self.till_command, self.view.url, self.limits)
            if not till.has_address:
                AGENT.warn(_NO_ADDRESS)
            return await self._play_with(till, directory)
        async with typed_lines() as lines:
            return await self._play_with(PersonTill(self.view, lines), directory)

    async def _play_with(self, till: Till, directory: Path) -> list[Judgement]:
        self.view.greet(is_attended=self.till_command is None)
        faults = SituationFaults(self.limits)
        async with running_sandbox(
            directory, self.sockets, faults, cors_origins=self.cors_origins
        ) as proxy:
            certification = Certification(till, faults, proxy, self.limits)
            return await certification.run(self.situations, self.view.show)


def _run(playing: _Playing) -> list[Judgement]:
    """Play in a new scratch directory; exit if that fails."""
    try:
        judgements = run_in_scratch(playing.play)
    except ProcessFailedError as error:
        AGENT.fail(f"the sandbox could not start: {error}")
    except CommandError as error:
        AGENT.fail(str(error), ExitCode.USAGE)
    if judgements is None:
        AGENT.fail("ended by a signal: no verdict")
    return judgements


def _chosen(keys: Sequence[str] | None) -> Sequence[Situation]:
    """Return the situations to play, or exit."""
    known = {one.key: one for one in SITUATIONS}
    for key in keys or ():
        if key not in known:
            AGENT.fail(f"no situation {key}: use {_KEYS}", ExitCode.USAGE)
    return [known[key] for key in keys] if keys else SITUATIONS


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text)
    except OSError as error:
        AGENT.fail(f"cannot write {file} ({error.strerror})")
