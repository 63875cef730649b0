"""The `loyalty-agent` command line: arguments, output and exit codes."""

from agent.cli.commands import main

__all__ = ["main"]
