"""The `loyalty-hq` command line: arguments, output and exit codes."""

from sync.receiver.cli.commands import app, main

__all__ = ["app", "main"]
