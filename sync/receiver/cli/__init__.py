"""The commands of `loyalty-hq`: what head office types, what it prints, its exit codes."""

from sync.receiver.cli.commands import app, main

__all__ = ["app", "main"]
