"""SIGHUP in the first moments of a process: a service goes on, another command ends."""

import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE_SECONDS
from tests.support.processes import ROOT, clean_environment

pytestmark = pytest.mark.process
# The entry point of a program as installed, with a SIGHUP right before a module is imported.
HUNG_UP = """
import importlib, importlib.abc, os, signal, sys
entry, module, *sys.argv[1:] = sys.argv[1:]
class HangUp(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGHUP)
sys.meta_path.insert(0, HangUp())
package, _, function = entry.partition(":")
getattr(importlib.import_module(package), function)()
"""
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def exit_code(directory: Path, program: str, module: str, *words: str) -> int:
    """Return the exit code of a command that got SIGHUP right before it imports `module`."""
    config = directory / "config.toml"
    config.write_text(f'[storage]\ndirectory = "{directory / "absent" / "state"}"\n')
    (directory / "absent").touch()
    return subprocess.run(
        [sys.executable, "-c", HUNG_UP, SCRIPTS[program], module, "--config", str(config), *words],
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    ).returncode


@pytest.mark.parametrize(
    ("program", "package", "command"),
    [("loyalty-agent", "agent.cli", "run"), ("loyalty-hq", "sync.receiver.cli", "serve")],
)
def test_service_is_not_ended_before_its_command_line_is_read(
    tmp_path: Path, program: str, package: str, command: str
) -> None:
    # It cannot start in a directory that is a file, and says so: the signal did not end it.
    assert exit_code(tmp_path, program, package, command) in {1, 2}


@pytest.mark.parametrize(
    ("program", "module", "command"),
    [
        ("loyalty-agent", "agent.cli.status", "status"),
        ("loyalty-hq", "sync.receiver.cli.reporting.stores", "stores"),
    ],
)
def test_command_ends_with_its_terminal(
    tmp_path: Path, program: str, module: str, command: str
) -> None:
    assert exit_code(tmp_path, program, module, command) == 128 + signal.SIGHUP
