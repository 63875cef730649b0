"""`loyalty-agent certify`: judge a till's manners in twelve situations; text and JSON."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from agent.certify.findings import Judgement, Verdict, overall
from agent.certify.report import report
from agent.certify.run import Certification
from agent.certify.situations import ANSWER_SECONDS, SITUATIONS, Limits, Situation
from agent.certify.stage import Stage
from agent.certify.tills import CommandError, CommandTill, Till
from agent.cli.certify.view import PersonTill, Talk
from agent.cli.client import AGENT
from agent.cli.lines import typed_lines
from agent.cli.sandbox import ORIGIN_HELP, PORT_HELP, listen_or_exit, url_of
from agent.drill.processes import ProcessFailedError
from agent.sandbox.scratch import run_in_scratch, running_sandbox
from sync.runtime.cli.printing import echo_json
from sync.runtime.cli.program import ExitCode
from sync.runtime.identity import installed_version

_KEYS = ", ".join(one.key for one in SITUATIONS)
TillCommand = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND",
        help="Makes one sale and exits with 0 if it is sold; {url} is the agent's address.",
    ),
]


def certify(
    *,
    till_command: TillCommand = None,
    situation: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help=f"Only this one: {_KEYS}. Repeatable.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON; the rest goes to stderr.")
    ] = False,
    report_file: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write the report as JSON.")
    ] = None,
    answer_limit: Annotated[
        float, typer.Option(min=0.1, max=60.0, help="Seconds within which a till gives up.")
    ] = ANSWER_SECONDS,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help=PORT_HELP)] = None,
    cors_origin: Annotated[list[str] | None, typer.Option(help=ORIGIN_HELP)] = None,
) -> None:
    """Judge a till's manners in twelve situations.

    Says step by step what to do at the till, watches its requests, and prints a verdict. With
    --till-command it runs the till's program instead. The agent is a sandbox: nothing is
    delivered. The exit code is 0 if the till passed, 1 if not or if something was not seen.
    """
    chosen, limits = _chosen(situation), Limits(answer_limit)
    sockets = listen_or_exit(port)
    talk = Talk(url_of(sockets), is_on_stderr=as_json)

    async def run(directory: Path) -> list[Judgement]:
        async def play(till: Till) -> list[Judgement]:
            talk.greet(is_attended=till_command is None)
            stage = Stage(limits)
            async with running_sandbox(
                directory, sockets, stage, cors_origins=cors_origin or []
            ) as front:
                return await Certification(till, stage, front, limits).run(chosen, talk.show)

        if till_command is not None:
            return await play(CommandTill(till_command, talk.url, limits))
        async with typed_lines() as lines:
            return await play(PersonTill(talk, lines))

    try:
        judgements = run_in_scratch(run)
    except ProcessFailedError as error:
        AGENT.fail(f"the sandbox could not start: {error}")
    except CommandError as error:
        AGENT.fail(str(error), ExitCode.USAGE)
    if judgements is None:
        AGENT.fail("ended by a signal: no verdict")
    at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    members = report(
        judgements, version=installed_version(), at=at, answer_seconds=limits.answer_seconds
    )
    talk.sum_up(judgements)
    if report_file is not None:
        _write(report_file, json.dumps(members, indent=2) + "\n")
    if as_json:
        echo_json(members, indent=2)
    is_passed = overall(judgements) in {Verdict.PASSED, Verdict.ADVICE}
    raise typer.Exit(ExitCode.OK if is_passed else ExitCode.PROBLEM)


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
