"""Check of the API port: free, held by the agent, or held by another process."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from sync.runtime.checks.check import Check, fault, passed, warning
from sync.runtime.network.listeners import find_listeners
from sync.runtime.network.loopback import addresses_of

_NAME, _OTHER_NAME = "port", "port, other loopback"
_SYSTEMD = 1


def check_ports(host: str, port: int, agent: int | None) -> Iterator[Check]:
    """Judge each address that the agent listens on for the configured `host`.

    An address that is free is judged with the first one only: without IPv6 there is no other.
    """
    for number, address in enumerate(addresses_of(host)):
        holders = find_listeners(address, port) if port else None
        if number == 0 or holders is not None:
            check = check_port(address, port, holders, agent)
            yield check if number == 0 else replace(check, name=_OTHER_NAME)


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
