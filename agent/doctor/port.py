"""Check of the API port: free, held by the agent, or held by another process."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from agent.doctor.check import Check, fault, passed, warning
from sync.runtime.network.loopback import addresses_of
from sync.runtime.network.socket_table import LISTENING, Address, read_sockets

_NAME, _OTHER_NAME = "port", "port, other loopback"
_SYSTEMD = 1
_V6_WILDCARD = IPv6Address("::")


def check_ports(host: str, port: int, agent: int | None) -> Iterator[Check]:
    """Judge each address that the agent listens on for the configured `host`.

    An address that is free is judged with the first one only: without IPv6 there is no other.
    """
    for number, address in enumerate(addresses_of(host)):
        holders = find_listeners(address, port) if port else None
        if number == 0 or holders is not None:
            check = check_port(address, port, holders, agent)
            yield check if number == 0 else replace(check, name=_OTHER_NAME)


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
            if any(str(file.readlink()) in sockets for file in (process / "fd").iterdir()):
                name = (process / "comm").read_text("utf-8", "replace")
                holders[int(process.name)] = name.strip()
    return holders


def check_port(host: str, port: int, holders: Mapping[int, str] | None, agent: int | None) -> Check:
    """Check that tills reach the agent at the port; `holders` is the result of `find_listeners`.

    `agent` is the process that holds the storage directory, if any.
    """
    if port == 0:
        return passed(_NAME, "0: any free port, named in the log at the start")
    address = f"{host} port {port}"
    if holders is None:
        return _check_free(address, agent)
    if agent in holders:
        return passed(_NAME, f"the agent (process {agent}) listens on {address}")
    if _SYSTEMD in holders:
        return _check_held_by_systemd(address, agent)
    if not holders:
        by = "a process of another user"
        if agent is not None:
            by = "a process that this user cannot see; it may be the agent"
        advice = "run doctor as root to see the process"
        return warning(_NAME, f"{address} is used by {by}", advice)
    by = ", ".join(f"{name} (process {process})" for process, name in holders.items())
    advice = "stop that program, or set [api] port and configure the tills"
    return fault(_NAME, f"{address} is used by {by}, not by the agent", advice)


def _check_free(address: str, agent: int | None) -> Check:
    if agent is None:
        return passed(_NAME, f"{address} is free")
    found = f"an agent is running (process {agent}), but does not listen on {address}"
    advice = "check that it was started with this configuration; restart it after a change"
    return warning(_NAME, found, advice)


def _check_held_by_systemd(address: str, agent: int | None) -> Check:
    if agent is None:
        return passed(_NAME, f"systemd holds {address} for the agent")
    # A user that can read systemd's sockets can read the agent's: it has another one or none.
    found = f"systemd holds {address}, but not for the agent (process {agent})"
    return fault(_NAME, found, "find the unit that holds the port: systemctl list-sockets")


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
