"""Checks of the hosts in the URL of a PostgreSQL database, and of a pooler before them."""

from collections.abc import Iterator, Sequence

from sync.receiver.config import ReceiverSettings
from sync.receiver.database_url import parse_server_url
from sync.receiver.db.open import password_of
from sync.receiver.db.server.connect import Connector
from sync.receiver.db.server.connection import POOLER_ADVICE, Pooling, ServerConnection
from sync.runtime.checks.check import Check, fault, passed, warning

_HOSTS, _POOLER = "hosts", "pooler"


async def check_hosts(settings: ReceiverSettings) -> list[Check]:
    """Connect to each host in turn; no finding for a single server without a pooler."""
    connector = Connector(parse_server_url(settings.database.url), password_of(settings), {})
    found = await connector.connect_each()
    for one in found:
        if isinstance(one, ServerConnection):
            one.terminate()
    return [*_judge_hosts(found), *_judge_pooler(found)]


def _judge_hosts(found: Sequence[ServerConnection | str]) -> Iterator[Check]:
    if len(found) == 1:
        return
    connected = [one for one in found if isinstance(one, ServerConnection)]
    silent = [one for one in found if isinstance(one, str)]
    described = "; ".join(one if isinstance(one, str) else _state_of(one) for one in found)
    primaries = {one.server for one in connected if not one.is_standby and not one.is_read_only}
    if len(primaries) > 1:
        advice = "stop the old primary: head office writes to the first one that it finds"
        yield fault(_HOSTS, f"more than one server can be written: {described}", advice)
    elif silent:
        advice = "start it, or remove it from database.url: after a failover it would be missing"
        yield warning(_HOSTS, described, advice)
    else:
        yield passed(_HOSTS, described)


def _state_of(connection: ServerConnection) -> str:
    kind = "a standby" if connection.is_standby else "the primary"
    return f"{connection.place} is {'read-only' if connection.is_read_only else kind}"


def _judge_pooler(found: Sequence[ServerConnection | str]) -> Iterator[Check]:
    poolings = {one.pooling: one.place for one in found if isinstance(one, ServerConnection)}
    if place := poolings.get(Pooling.NOT_FOLLOWED):
        yield warning(_POOLER, f"{place}: {Pooling.NOT_FOLLOWED.value}", POOLER_ADVICE)
    elif place := poolings.get(Pooling.FOLLOWED):
        yield passed(_POOLER, f"{place}: {Pooling.FOLLOWED.value}")
