"""Runs the agent as a subprocess, for tests of output and exit codes."""

import os
import subprocess
import sys
from pathlib import Path

SOURCE_TREE = Path(__file__).parents[3]


def agent(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the program with this environment, without its own variables."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("LOYALTY_AGENT__")}
    return subprocess.run(
        [sys.executable, "-m", "agent", *arguments],
        cwd=SOURCE_TREE,
        env=kept | variables,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
