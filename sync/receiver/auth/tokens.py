"""The tokens by which agents prove who they are: their form, and the hash that is stored."""

import base64
import hashlib
from dataclasses import dataclass

from sync.runtime.settings.types import check_name


@dataclass(frozen=True, slots=True)
class AgentName:
    """Which machine an agent runs on."""

    store_id: str
    till_id: str


def make_token(name: AgentName, secret: bytes) -> str:
    """Return the token of an agent: its name, so that it can be looked up by store, and a secret.

    Printable ASCII without blanks, in two parts of URL-safe base64.
    """
    return f"{_encode(f'{name.store_id}/{name.till_id}'.encode())}.{_encode(secret)}"


def name_in(token: str) -> AgentName | None:
    """Return whose token it claims to be; None for what is no token at all."""
    named, _, secret = token.partition(".")
    if not secret:
        return None
    try:
        padded = named + "=" * (-len(named) % 4)
        store_id, till_id = base64.urlsafe_b64decode(padded).decode().split("/")
        return AgentName(check_name(store_id), check_name(till_id))
    except ValueError:
        return None


def hash_of(token: str) -> str:
    """Return what is stored of a token. It is long and random: a plain hash keeps it safe."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
