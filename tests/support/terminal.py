"""Run a command on a pseudo-terminal, 80 columns wide."""

import os
import pty
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.fork_server import started

COLUMNS = 80
_TERMINAL = {"TERM": "xterm", "COLUMNS": str(COLUMNS), "LINES": "24"}


@contextmanager
def service_on_terminal(
    program: Sequence[str], directory: Path, environment: Mapping[str, str], until: str
) -> Iterator[str]:
    """Run `program` on a terminal; yield its output up to the line with `until`; terminate it."""
    mine, its = pty.openpty()
    with subprocess.Popen(
        program, cwd=directory, env=environment, stdin=its, stdout=its, stderr=its
    ) as process:
        os.close(its)
        with os.fdopen(mine, encoding="utf-8") as terminal:
            try:
                shown = ""
                while until not in shown:
                    shown += terminal.readline()
                yield shown
            finally:
                process.terminate()


def run_on_terminal(program: Sequence[str], directory: Path, environment: Mapping[str, str]) -> str:
    """Run `program` in `directory` to completion; return its terminal output."""
    mine, its = pty.openpty()
    variables = {**environment, **_TERMINAL}
    with subprocess.Popen(program, cwd=directory, env=variables, stdin=its, stdout=its, stderr=its):
        os.close(its)
        return _read(mine)


def run_forked_on_terminal(
    module: str, arguments: Sequence[str], directory: Path, environment: Mapping[str, str]
) -> str:
    """Run `python -m module arguments` likewise, in a fork of what is imported."""
    mine, its = pty.openpty()
    with started(module, arguments, directory, {**environment, **_TERMINAL}, (its, its, its)):
        return _read(mine)


def _read(terminal: int) -> str:
    """Return all output on the terminal, and close it."""
    shown = b""
    try:
        while more := os.read(terminal, 65_536):
            shown += more
    except OSError:  # EIO: how Linux reports that the other end is closed
        pass
    os.close(terminal)
    return shown.decode()
