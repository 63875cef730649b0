"""Check of the API port: free, held by the agent, or held by another process."""

import contextlib
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TypeAlias

from agent.doctor.check import Check, fault, passed, warning

_NAME = "port"
_LISTENING = "0A"
_SYSTEMD = 1
# Fields in proc_net_tcp(5).
_LOCAL, _STATE, _INODE = 1, 3, 9
_V4_DIGITS = 8
_LOCALHOST = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
_V6_WILDCARD = IPv6Address("::")

Address: TypeAlias = IPv4Address | IPv6Address


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
    """Judge if tills reach the agent at the port, given what `find_listeners` returned.

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
    wanted = _LOCALHOST if host == "localhost" else (ip_address(host),)
    for table in ("net/tcp", "net/tcp6"):
        try:
            lines = (proc / table).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if len(fields) <= _INODE or fields[_STATE] != _LISTENING:
                continue
            digits, _, number = fields[_LOCAL].partition(":")
            found = _address(digits)
            if int(number, 16) == port and any(_overlaps(found, one) for one in wanted):
                yield fields[_INODE]


def _overlaps(found: Address, wanted: Address) -> bool:
    if found.is_unspecified or wanted.is_unspecified:
        # The IPv6 wildcard accepts IPv4 as well, unless IPV6_V6ONLY is set.
        return found.version == wanted.version or _V6_WILDCARD in {found, wanted}
    return found == wanted


def _address(digits: str) -> Address:
    """Parse an address of proc_net_tcp: four-byte words in host byte order."""
    words = [bytes.fromhex(digits[at : at + 8])[::-1] for at in range(0, len(digits), 8)]
    if len(digits) == _V4_DIGITS:
        return IPv4Address(words[0])
    address = IPv6Address(b"".join(words))
    return address.ipv4_mapped or address
