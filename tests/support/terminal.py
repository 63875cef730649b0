"""Run a command on a pseudo-terminal, 80 columns wide."""

import os
import pty
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

COLUMNS = 80


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
    terminal = {"TERM": "xterm", "COLUMNS": str(COLUMNS), "LINES": "24"}
    with subprocess.Popen(
        program, cwd=directory, env={**environment, **terminal}, stdin=its, stdout=its, stderr=its
    ):
        os.close(its)
        shown = b""
        try:
            while more := os.read(mine, 65_536):
                shown += more
        except OSError:  # EIO: how Linux reports that the other end is closed
            pass
    os.close(mine)
    return shown.decode()
