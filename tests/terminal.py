"""A command as a person sees it: on a terminal of its own, 80 columns wide."""

import os
import pty
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

COLUMNS = 80


def shown_on_a_terminal(
    program: Sequence[str], directory: Path, environment: Mapping[str, str]
) -> str:
    """Run `program` in `directory` to its end; return all that it wrote on its terminal."""
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
        except OSError:  # how Linux tells that nobody has the other end any more
            pass
    os.close(mine)
    return shown.decode()
