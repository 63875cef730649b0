"""Agent tokens: their format, and the hash that is stored."""

import base64
import hashlib
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


def make_token(name: AgentName, secret: bytes) -> str:
    """Return an agent's token: its name, for the lookup by store, and a secret.

    Printable ASCII without spaces: two parts of URL-safe base64, joined by a dot.
    """
    return f"{_encode(f'{name.store_id}/{name.till_id}'.encode())}.{_encode(secret)}"


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


def hash_token(token: str) -> str:
    """Return the stored hash. A plain SHA-256 is safe, because the secret is long and random."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
