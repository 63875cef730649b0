"""`loyalty-agent certify`: options, report, and the view for a person."""

from agent.cli.certify.command import certify

__all__ = ["certify"]
