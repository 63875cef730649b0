"""Reads the kernel's table of TCP sockets, proc_net_tcp(5). Empty on systems other than Linux."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple, TypeAlias

from sync.runtime.files.private_files import user_name

LISTENING = "0A"
# `/proc/net` is a link to this; a sandbox with ProcSubset=pid hides the link only.
_NET = "self/net"
_TABLES = ("tcp", "tcp6")
_LOCAL, _REMOTE, _STATE, _UID, _INODE = 1, 2, 3, 7, 9
_V4_DIGITS = 8

Address: TypeAlias = IPv4Address | IPv6Address


class SocketRow(NamedTuple):
    """A TCP socket: local address, remote address and owner.

    In a user namespace (PrivateUsers=), all users except root and the current one are `nobody`.
    """

    host: Address
    port: int
    peer_host: Address
    peer_port: int
    state: str
    uid: int
    inode: str


def read_sockets(proc: Path = Path("/proc")) -> Iterator[SocketRow]:
    """Yield the TCP sockets of this network namespace."""
    for table in _TABLES:
        try:
            lines = (proc / _NET / table).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if len(fields) > _INODE:
                local, remote = _end(fields[_LOCAL]), _end(fields[_REMOTE])
                yield SocketRow(*local, *remote, fields[_STATE], int(fields[_UID]), fields[_INODE])


def connecting_user(peer: tuple[str, int], local: tuple[str, int]) -> str | None:
    """Return the owner of the local socket `peer`, connected to `local`; None if unknown."""
    ends = (*_parsed(peer), *_parsed(local))
    return next((user_name(row.uid) for row in read_sockets() if row[:4] == ends), None)


def listening_user(host: str, port: int) -> str | None:
    """Return the owner of the socket that listens on a local address; None if there is none."""
    wanted = ip_address(host)
    for row in read_sockets():
        if row.state == LISTENING and row.port == port and row.host in {wanted, _any(wanted)}:
            return user_name(row.uid)
    return None


def _parsed(end: tuple[str, int]) -> tuple[Address, int]:
    # The zone of a link-local address follows %.
    return _unmapped(ip_address(end[0].partition("%")[0])), end[1]


def _any(address: Address) -> Address:
    return type(address)(0)


def _end(text: str) -> tuple[Address, int]:
    digits, _, port = text.partition(":")
    # Words of four bytes in host byte order.
    words = [bytes.fromhex(digits[at : at + 8])[::-1] for at in range(0, len(digits), 8)]
    is_v4 = len(digits) == _V4_DIGITS
    address = IPv4Address(words[0]) if is_v4 else _unmapped(IPv6Address(b"".join(words)))
    return address, int(port, 16)


def _unmapped(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
