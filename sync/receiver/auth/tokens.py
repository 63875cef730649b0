"""Agent tokens: the till in a token, and the authenticated agent."""

import base64
from dataclasses import dataclass
from datetime import datetime

from sync.runtime.settings.types import check_name


@dataclass(frozen=True, slots=True)
class AgentName:
    """Store and till of an agent."""

    store_id: str
    till_id: str


@dataclass(frozen=True, slots=True)
class EnrolledAgent:
    """An authenticated agent. `enrolled_at` is the start of its token's validity."""

    name: AgentName
    enrolled_at: datetime


def parse_name(token: str) -> AgentName | None:
    """Return the agent that the token claims to belong to; None if it is malformed."""
    named, _, secret = token.partition(".")
    if not secret:
        return None
    try:
        padded = named + "=" * (-len(named) % 4)
        store_id, till_id = base64.urlsafe_b64decode(padded).decode().split("/")
        return AgentName(check_name(store_id), check_name(till_id))
    except ValueError:
        return None
