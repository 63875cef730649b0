"""`loyalty-agent status`: the status for people, and for monitoring systems."""

from agent.cli.status.command import status as status
