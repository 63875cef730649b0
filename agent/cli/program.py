"""`loyalty-agent` as a program with commands: its name, settings and unreachable agent."""

from collections.abc import Iterator
from contextlib import contextmanager

from agent.cli.client import AgentUnreachableError, RequestRejectedError
from agent.config import Settings, load_settings
from sync.runtime.cli.program import Program

AGENT: Program[Settings] = Program("loyalty-agent", load_settings)


@contextmanager
def exit_on_agent_error() -> Iterator[None]:
    """Turn an unreachable agent or a rejected request into a message and exit code 1."""
    try:
        with AGENT.exit_on_configuration_error():
            yield
    except (AgentUnreachableError, RequestRejectedError) as error:
        AGENT.fail(str(error))
