"""`loyalty-agent sandbox`: an agent in a scratch directory that misbehaves on request."""

import asyncio
import os
import socket
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.client import AGENT
from agent.cli.typed_lines import TypedLines, typed_lines
from agent.config import ConfigurationError, load_settings
from agent.drill.processes import ProcessFailedError
from agent.sandbox.answers import NOTICE
from agent.sandbox.control import Control, PlannedFaults, Restart
from agent.sandbox.exchange import Exchange
from agent.sandbox.fault_proxy import AnswerControl, FaultProxy
from agent.sandbox.faults import EXPLAINED, Call, FaultPlan, FaultSyntaxError, parse_words
from agent.sandbox.running_sandbox import DEFAULT_PORT, listen_on, run_in_scratch, running_sandbox
from sync.runtime.cli.discovery import find_installed
from sync.runtime.cli.printing import echo
from sync.runtime.masking import mask_path, mask_secrets
from sync.runtime.printable import printable

SandboxPort = Annotated[
    int | None,
    typer.Option(
        min=0, max=65_535, help="The port; 8480 by default, the next one if an agent has that."
    ),
]
TillOrigins = Annotated[
    list[str] | None,
    typer.Option(help="Origin of a till that is a web page, as scheme://host:port. Repeatable."),
]
_MOST_CHARACTERS = 36
_HELP = """\
Type a fault and Enter; it is for the next call of the till:
  slow [SECONDS]   {slow}
  silent           {silent}
  lost             {lost}
  half             {half}
  reset            {reset}
  restart          {restart}
  400              {refused}
  503              {unavailable}
  507              {full}
then, if you like, `session` or `email`, and `x3` or `always`: `503 email x2`.
  off (no fault any more), help, quit"""


def sandbox(*, port: SandboxPort = None, cors_origin: TillOrigins = None) -> None:
    """Serve an agent that misbehaves on request.

    For integrators of tills. Type a fault, or POST it to /sandbox/faults, and see what the till
    does. The agent is a real one in a scratch directory, which is removed at the end (Ctrl-C).
    Nothing is delivered; the agent installed on this machine is not touched.
    """
    sockets = listen_or_exit(port)

    async def run(directory: Path) -> None:
        await _serve(directory, sockets, cors_origin or [])

    try:
        run_in_scratch(run)
    except ProcessFailedError as error:
        AGENT.fail(f"the sandbox could not start: {error}")
    echo("The sandbox has ended; its directory is removed.")


def listen_or_exit(port: int | None) -> list[socket.socket]:
    """Return the listening sockets of a sandbox; say where it listens. Exits if it cannot."""
    reserved = _installed_port()
    try:
        sockets = listen_on(port, reserved)
    except OSError as error:
        AGENT.fail(f"port {port} cannot be used ({error.strerror}): choose another with --port")
    if port is None and port_of(sockets) != DEFAULT_PORT:
        why = "is the installed agent's" if reserved == DEFAULT_PORT else "is taken"
        AGENT.warn(f"port {DEFAULT_PORT} {why}; the sandbox uses port {port_of(sockets)}")
    if reserved == port_of(sockets):
        AGENT.warn(f"port {reserved} is the installed agent's; what its tills send is not kept")
    return sockets


def _installed_port() -> int | None:
    """Return the port of the agent that is installed on this machine; None if there is none."""
    try:
        found = find_installed(AGENT.name, os.environ)
        return None if found is None else load_settings(found.file, found.environ).api.port
    except ConfigurationError:  # not readable for this user, or wrong
        return DEFAULT_PORT


def port_of(sockets: list[socket.socket]) -> int:
    """Return the port of listening sockets."""
    port: int = sockets[0].getsockname()[1]
    return port


def url_of(sockets: list[socket.socket]) -> str:
    """Return the URL of listening sockets."""
    return f"http://127.0.0.1:{port_of(sockets)}"


async def _serve(directory: Path, sockets: list[socket.socket], origins: list[str]) -> None:
    plan = FaultPlan()

    def control(restart: Restart) -> AnswerControl:
        return Control(plan, restart).answer

    injector = PlannedFaults(plan, lambda exchange: echo(line_of(exchange)))
    async with (
        running_sandbox(directory, sockets, injector, control, origins) as proxy,
        typed_lines() as lines,
    ):
        url = url_of(sockets)
        echo(NOTICE, bold=True, fg="yellow")
        echo(f"The till's address of the agent: {url}")
        echo(f"Its database and log are in {directory}, until the end.")
        echo(f"Faults: here, or POST {url}/sandbox/faults.\n")
        echo(_help())
        await _execute_lines(lines, plan, proxy)


async def _execute_lines(lines: TypedLines, plan: FaultPlan, proxy: FaultProxy) -> None:
    """Execute typed commands until `quit`; after the end of input serve until a signal."""
    while (line := await lines.next()) is not None:
        if line in {"quit", "exit", "q"}:
            return
        await _execute(line, plan, proxy)
    await asyncio.Event().wait()


async def _execute(line: str, plan: FaultPlan, proxy: FaultProxy) -> None:
    match line:
        case "":
            pass
        case "help" | "?":
            echo(_help())
        case "off":
            plan.clear()
            echo("No faults.")
        case "restart":
            await proxy.restart()
            echo("The agent was killed and runs again.")
        case _:
            try:
                plan.add(fault := parse_words(line))
            except FaultSyntaxError as error:
                echo(f"{error}. Type help.")
            else:
                echo(f"To come: {fault}")


def line_of(exchange: Exchange) -> str:
    """Return the log line of an exchange; never an address."""
    seconds = (exchange.ended or exchange.started) - exchange.started
    ending = exchange.ending.value if exchange.ending else "in progress"
    status = f" {exchange.status}" if exchange.status else ""
    call = f"{exchange.call} {_shown_id(exchange.correlation_id)}"
    if exchange.call is Call.OTHER:
        call = printable(f"{exchange.method} {mask_path(exchange.path)}")
    fault = f"  fault: {exchange.fault.kind}" if exchange.fault else ""
    at = datetime.now().astimezone()
    return f"SANDBOX {at:%H:%M:%S} {call}\n    {ending}{status} after {seconds:.3f} s{fault}"


def _shown_id(correlation_id: str | None) -> str:
    if correlation_id is None:
        return "without an id"
    return printable(mask_secrets(correlation_id))[:_MOST_CHARACTERS]


def _help() -> str:
    return _HELP.format_map({kind.name.lower(): text for kind, text in EXPLAINED.items()})
