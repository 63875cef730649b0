"""`loyalty-agent certify`: arguments and report, and the view of a certification."""

from agent.cli.certify.command import certify

__all__ = ["certify"]
