"""Finds the processes that listen on a port, in /proc. None on systems other than Linux."""

import contextlib
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from sync.runtime.network.loopback import addresses_of
from sync.runtime.network.socket_table import LISTENING, Address, read_sockets

_V6_WILDCARD = IPv6Address("::")


def find_listeners(host: str, port: int, proc: Path = Path("/proc")) -> dict[int, str] | None:
    """Return ids and names of the processes that listen on the port; None if it is free.

    Empty if the listening process is not visible to this user.
    """
    sockets = {f"socket:[{inode}]" for inode in _listening(host, port, proc)}
    if not sockets:
        return None
    holders = {}
    for process in sorted(proc.glob("[0-9]*"), key=lambda place: int(place.name)):
        with contextlib.suppress(OSError):  # it has ended or belongs to another user
            if any(_target(file) in sockets for file in (process / "fd").iterdir()):
                name = (process / "comm").read_text("utf-8", "replace")
                holders[int(process.name)] = name.strip()
    return holders


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:
        return ""  # a busy process has closed it since it was listed


def _listening(host: str, port: int, proc: Path) -> Iterator[str]:
    """Yield the inode of each listening socket that would receive such a connection."""
    names = addresses_of(host) if host == "localhost" else (host,)
    wanted = [ip_address(name) for name in names]
    for row in read_sockets(proc):
        is_there = row.state == LISTENING and row.port == port
        if is_there and any(_overlaps(row.host, one) for one in wanted):
            yield row.inode


def _overlaps(found: Address, wanted: Address) -> bool:
    if found.is_unspecified or wanted.is_unspecified:
        # The IPv6 wildcard accepts IPv4 as well, unless IPV6_V6ONLY is set.
        return found.version == wanted.version or _V6_WILDCARD in {found, wanted}
    return found == wanted
