"""The commands of `loyalty-agent`: what store IT types, what it prints, its exit codes."""

from agent.cli.commands import main

__all__ = ["main"]
