"""`loyalty-agent join`: where the code comes from, messages, and the first delivery."""

from agent.cli.join.command import join

__all__ = ["join"]
