"""Reads the status from the running agent, or from the database if the agent does not answer."""

import time
from dataclasses import dataclass

from agent.cli.client import AgentClient, AgentUnreachable
from agent.config import Settings
from agent.monitoring.offline import offline_members, offline_metrics, read_stored_state
from sync.runtime.identity import installed_version


@dataclass(frozen=True, slots=True)
class StatusDocument:
    """A status document; `text`: the running agent's own JSON.

    `error`: why the agent does not answer.
    """

    members: dict[str, object]
    text: str | None = None
    error: str | None = None


def find_status(settings: Settings) -> StatusDocument:
    """Return the status. Raises `AgentError` if the agent rejects the request."""
    try:
        response = AgentClient(settings).status()
    except AgentUnreachable as error:
        state = read_stored_state(settings.storage.directory)
        now_us = time.time_ns() // 1000
        members = offline_members(settings, state, error.cause, now_us, installed_version())
        return StatusDocument(members, error=str(error))
    return StatusDocument(response.members, response.text)


def find_metrics(settings: Settings) -> tuple[str, str | None]:
    """Return the metrics, and why the agent does not answer. Raises `AgentError`."""
    try:
        return AgentClient(settings).metrics(), None
    except AgentUnreachable as error:
        state = read_stored_state(settings.storage.directory)
        found = offline_metrics(settings, state, time.time_ns() // 1000)
        return found.decode(), str(error)
