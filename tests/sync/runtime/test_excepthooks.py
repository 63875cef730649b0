"""Uncaught exceptions of any thread are one log line each."""

import json
import subprocess
import sys

import pytest

from tests.support.processes import ROOT

BEFORE = """
import gc, threading
from sync.runtime.logging import configure_logging
from sync.runtime.excepthooks import log_what_nobody_catches
configure_logging("info", "json")
log_what_nobody_catches()
"""
IN_THREAD = """
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
"""
IN_FINALIZER = """
class Broken:
    def __del__(self):
        raise ValueError("first\\nsecond")
Broken()
gc.collect()
"""


@pytest.mark.parametrize(
    ("program", "event", "code"),
    [
        ("int('first\\nsecond')", "process.failed", 1),
        ("raise KeyboardInterrupt", "process.interrupted", -2),
        (IN_THREAD, "thread.failed", 0),
        (IN_FINALIZER, "exception.ignored", 0),
    ],
)
def test_uncaught_exception_is_one_log_line(program: str, event: str, code: int) -> None:
    result = subprocess.run(
        [sys.executable, "-c", BEFORE + program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    (line,) = result.stderr.splitlines()
    assert json.loads(line)["event"] == event
    assert result.returncode == code
