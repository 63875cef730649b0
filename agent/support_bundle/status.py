"""Status document for the bundle, filtered by an allowlist of members."""

from collections.abc import Mapping

from agent.api.delivery import SyncReport
from agent.api.status import StatusReport, StorageReport
from agent.support_bundle.secrecy import Json

_CENTRAL = ("url", "protocol")
_PARTS: dict[str, tuple[str, ...]] = {
    "storage": tuple(StorageReport.__annotations__),
    "central": _CENTRAL,
    "sync": tuple(SyncReport.__annotations__),
}


def known_status(members: Mapping[str, object]) -> dict[str, Json]:
    """Return the known members of a status with plain values.

    The allowlist is needed because another program may answer on the port.
    """
    status: dict[str, Json] = {}
    for name in StatusReport.__annotations__:
        value = members.get(name)
        if name in _PARTS and isinstance(value, Mapping):
            status[name] = {part: _plain(value.get(part)) for part in _PARTS[name]}
        else:
            status[name] = _plain(value)
    return status


def _plain(value: object) -> Json:
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [item for item in value if isinstance(item, str)]
    return None
