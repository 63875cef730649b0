"""Checks that a service can listen on its address, without listening."""

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

from sync.runtime.network.listeners import find_listeners
from sync.runtime.network.loopback import addresses_of

_SYSTEMD = 1
# Tells from the arguments of a process whether it is this service.
IsService = Callable[[list[str]], bool]


def find_listening_problem(
    host: str, port: int, section: str, is_service: IsService, proc: Path = Path("/proc")
) -> str | None:
    """Return why the service cannot listen on its first address; None if it can, or does already.

    A port that systemd holds is taken to be the service's, and so is one with a hidden holder while
    a service runs hidden: only root sees the sockets of a service with `PrivateUsers=`, its own
    user does not. `section`: of host and port.
    """
    address = addresses_of(host)[0]
    try:
        _bind(address, port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            where = f"{address} port {port} ({error.strerror})"
            return f"it is not possible to listen on {where}: set [{section}] host or port"
    else:
        return None
    holders = find_listeners(address, port, proc) or {}
    if any(pid == _SYSTEMD or is_service(_arguments(proc, pid)) for pid in holders):
        return None
    if not holders and any(_is_hidden(place) for place in _services(is_service, proc)):
        return None
    by = ", ".join(f"{name} (process {pid})" for pid, name in holders.items())
    by = by or "a process of another user (root can see which)"
    return f"{address} port {port} is in use by {by}: stop that program, or set [{section}] port"


def _bind(address: str, port: int) -> None:
    is_v6 = ip_address(address).version == 6  # noqa: PLR2004 - IPv6
    with socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address, port))


def _services(is_service: IsService, proc: Path) -> Iterator[Path]:
    for place in proc.glob("[0-9]*"):
        if is_service(_arguments(proc, int(place.name))):
            yield place


def _is_hidden(process: Path) -> bool:
    try:
        for file in (process / "fd").iterdir():
            file.readlink()
    except OSError as error:
        return isinstance(error, PermissionError)
    return False


def _arguments(proc: Path, process: int) -> list[str]:
    with contextlib.suppress(OSError):
        return os.fsdecode((proc / str(process) / "cmdline").read_bytes()).rstrip("\0").split("\0")
    return []
