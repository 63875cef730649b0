"""Check of the API port: free, held by the agent, or held by another process."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from agent.doctor.check import Check, fault, passed, warning

_NAME = "port"
_LISTENING = "0A"
_SOCKET_TABLES = ("net/tcp", "net/tcp6")
_SOCKET = re.compile(r"socket:\[([0-9]+)\]")
_SYSTEMD = 1
# Fields in proc_net_tcp(5).
_LOCAL, _STATE, _INODE = 1, 3, 9
_V4_BYTES = 4
_LOCALHOST = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that listens on the port."""

    process: int
    name: str


@dataclass(frozen=True, slots=True)
class PortFacts:
    """Facts about the port. `holders` is empty if the listening process is not visible.

    `agent`: the process that holds the storage directory, if any.
    """

    host: str
    port: int
    is_taken: bool
    holders: tuple[Holder, ...]
    agent: int | None


def find_listeners(host: str, port: int, agent: int | None, proc: Path) -> PortFacts:
    """Find the processes that listen on the configured port."""
    sockets = set(_listening(host, port, proc))
    holders = tuple(_holders(sockets, proc)) if sockets else ()
    return PortFacts(host, port, bool(sockets), holders, agent)


def check_port(facts: PortFacts) -> Check:
    """Judge if tills reach the agent at the port."""
    address = f"{facts.host} port {facts.port}"
    if facts.port == 0:
        return passed(_NAME, "0: any free port, named in the log at the start")
    if not facts.is_taken:
        return _check_free(address, facts.agent)
    if any(holder.process == facts.agent for holder in facts.holders):
        return passed(_NAME, f"the agent (process {facts.agent}) listens on {address}")
    if any(holder.process == _SYSTEMD for holder in facts.holders):
        return _check_held_by_systemd(address, facts.agent)
    if not facts.holders:
        return _check_unseen(address, facts.agent)
    by = ", ".join(f"{holder.name} (process {holder.process})" for holder in facts.holders)
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


def _check_unseen(address: str, agent: int | None) -> Check:
    advice = "run doctor as root to see the process"
    if agent is None:
        return warning(_NAME, f"{address} is used by a process of another user", advice)
    found = f"{address} is used by a process that this user cannot see; it may be the agent"
    return warning(_NAME, found, advice)


def _listening(host: str, port: int, proc: Path) -> Iterator[str]:
    """Yield the inode of each listening socket that would receive such a connection."""
    wanted = _addresses_of(host)
    for table in _SOCKET_TABLES:
        try:
            lines = (proc / table).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) <= _INODE or fields[_STATE] != _LISTENING:
                continue
            digits, _, number = fields[_LOCAL].partition(":")
            found = _address(digits)
            if int(number, 16) == port and any(_overlaps(found, one) for one in wanted):
                yield fields[_INODE]


def _addresses_of(host: str) -> tuple[IPv4Address | IPv6Address, ...]:
    """Return the addresses of `host`; "localhost", the only allowed name, has two."""
    return _LOCALHOST if host == "localhost" else (ip_address(host),)


def _overlaps(found: IPv4Address | IPv6Address, wanted: IPv4Address | IPv6Address) -> bool:
    if found.is_unspecified or wanted.is_unspecified:
        # The IPv6 wildcard accepts IPv4 as well, unless IPV6_V6ONLY is set.
        return found.version == wanted.version or _is_v6_wildcard(found) or _is_v6_wildcard(wanted)
    return found == wanted


def _is_v6_wildcard(address: IPv4Address | IPv6Address) -> bool:
    return address == IPv6Address("::")


def _address(digits: str) -> IPv4Address | IPv6Address:
    """Parse an address of proc_net_tcp: four-byte words in host byte order."""
    words = [bytes.fromhex(digits[at : at + 8])[::-1] for at in range(0, len(digits), 8)]
    packed = b"".join(words)
    if len(packed) == _V4_BYTES:
        return IPv4Address(packed)
    address = IPv6Address(packed)
    return address.ipv4_mapped or address


def _holders(sockets: set[str], proc: Path) -> Iterator[Holder]:
    for directory in sorted(proc.glob("[0-9]*"), key=lambda place: int(place.name)):
        if _holds_any(sockets, directory / "fd"):
            yield Holder(int(directory.name), _name(directory))


def _holds_any(sockets: set[str], descriptors: Path) -> bool:
    try:
        for descriptor in descriptors.iterdir():
            found = _SOCKET.fullmatch(str(descriptor.readlink()))
            if found is not None and found[1] in sockets:
                return True
    except OSError:
        # The process has ended or belongs to another user.
        return False
    return False


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "(ended)"
