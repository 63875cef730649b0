"""What is printed while a step is displayed on a terminal stands on lines of its own."""

import sys

import pytest

from tests.support.processes import ROOT, clean_environment
from tests.support.terminal import run_on_terminal

pytestmark = pytest.mark.process
_PROGRAM = """
import sys
from threading import Event

from sync.runtime.cli.printing import echo
from sync.runtime.cli.progress import current_step

drawn, write = Event(), sys.stdout.write


def note(text):
    if "Checking" in text:
        drawn.set()
    return write(text)


sys.stdout.write = note
with current_step("Checking"):
    drawn.wait(30)
    echo("a line")
    echo("a warning", err=True)
echo("the end")
"""
_ERASED = "\x1b[2K"


def test_lines_that_are_printed_during_a_step_do_not_stand_behind_it() -> None:
    shown = run_on_terminal([sys.executable, "-c", _PROGRAM], ROOT, clean_environment())

    lines = [line.rpartition(_ERASED)[2].strip("\r") for line in shown.split("\n")]
    assert [line for line in lines if line and "Checking" not in line] == [
        "a line",
        "a warning",
        "the end",
    ]
