"""Limits of connections: deadlines by phase, and which connections make room for a new one."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.runtime.network.connections import (
    WRITE_STALL_BYTES,
    WRITE_STALL_SECONDS,
    Connection,
    ConnectionLimits,
    ConnectionTable,
    Phase,
    peer_of,
)

LIMITS = ConnectionLimits(head_seconds=15, idle_seconds=120, most=8)
WAITING = (Phase.OPENING, Phase.HEAD, Phase.IDLE)
CONNECTIONS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(Phase), st.floats(0, 100)), max_size=12
)


def connection(
    peer: str = "a", phase: Phase = Phase.IDLE, since: float = 0, *, receives: bool = False
) -> Connection:
    """Return a connection in this phase since then."""
    return Connection(peer, since, lambda: None, lambda: receives, phase)


def table_of(*connections: Connection, most: int | None = None) -> ConnectionTable:
    """Return a table with these connections, full unless `most` is given."""
    bound = len(connections) if most is None else most
    table = ConnectionTable(ConnectionLimits(15, 120, bound))
    for one in connections:
        table.add(one)
    return table


@pytest.mark.parametrize(
    ("phase", "seconds"), [(Phase.OPENING, 15), (Phase.HEAD, 15), (Phase.IDLE, 120)]
)
def test_connection_is_overdue_at_the_deadline_of_its_phase(phase: Phase, seconds: float) -> None:
    one = connection(phase=phase, since=100)
    table = table_of(one)

    assert (table.overdue(99.9 + seconds), table.overdue(100 + seconds)) == ([], [one])


def test_active_connection_has_no_deadline_while_its_peer_reads() -> None:
    one = connection(phase=Phase.ACTIVE)
    table = table_of(one)
    one.pause_writing(1000)
    one.resume_writing(1050)

    assert table.overdue(1e9) == []


def test_peer_that_reads_a_large_response_slowly_but_steadily_is_no_stalled_one() -> None:
    one = connection(phase=Phase.IDLE)
    table, unsent = table_of(one), 8_000_000
    one.unsent = lambda: unsent
    one.pause_writing(0)
    for second in range(0, 600, 10):
        assert table.overdue(second) == []
        unsent -= WRITE_STALL_BYTES // 5
    assert table.overdue(600) == []
    unsent -= 1

    assert table.overdue(600 + WRITE_STALL_SECONDS) == [one]


@pytest.mark.parametrize("phase", [Phase.ACTIVE, Phase.IDLE])
def test_peer_that_reads_no_byte_of_its_response_is_overdue(phase: Phase) -> None:
    one = connection(phase=phase, since=1000)
    table = table_of(one)
    one.pause_writing(1000)

    overdue_at = 1000 + WRITE_STALL_SECONDS
    assert (table.overdue(overdue_at - 0.1), table.overdue(overdue_at)) == ([], [one])


def test_long_response_is_not_taken_for_an_idle_connection() -> None:
    one = connection(phase=Phase.IDLE)
    table = table_of(one)
    for second in range(0, 1000, 50):
        one.pause_writing(second)
        one.resume_writing(second + 1)

    assert table.overdue(1000) == []


def test_below_the_bound_a_new_connection_displaces_none() -> None:
    assert table_of(connection(), most=2).displaced_by("b") == []


@given(idle=st.lists(st.floats(0, 100), min_size=1, max_size=12, unique=True))
def test_longest_idle_connection_is_displaced_first(idle: list[float]) -> None:
    table = table_of(*(connection(since=since) for since in idle))

    displaced = table.displaced_by("a")

    assert displaced is not None
    assert [one.since for one in displaced] == [min(idle)]


def test_connection_without_a_request_is_displaced_like_an_idle_one() -> None:
    silent = connection(phase=Phase.OPENING, since=1)
    dripping = connection(phase=Phase.HEAD, since=2)
    table = table_of(connection(since=3), silent, dripping)

    assert table.displaced_by("a") == [silent]


def test_incomplete_request_is_displaced_only_if_no_connection_waits_between_requests() -> None:
    slow_line = connection(phase=Phase.ACTIVE, since=1, receives=True)
    idle = connection(since=5)
    table = table_of(slow_line, idle)

    first = table.displaced_by("a")
    table.remove(idle)
    table.add(connection(phase=Phase.ACTIVE))

    assert (first, table.displaced_by("a")) == ([idle], [slow_line])


def test_new_connection_is_refused_if_all_are_active() -> None:
    table = table_of(*(connection(phase=Phase.ACTIVE) for _ in range(4)))

    assert table.displaced_by("b") is None


def test_peer_with_most_connections_makes_room_although_others_are_idle_for_longer() -> None:
    """A store's agent keeps its connection while one host opens hundreds."""
    store = connection("store", since=0)
    flood = [connection("flood", since=100 + number) for number in range(7)]
    table = table_of(store, *flood)

    assert table.displaced_by("flood") == [flood[0]]
    assert table.displaced_by("another store") == [flood[0]]


def test_peer_with_most_connections_cannot_displace_those_of_others() -> None:
    busy = [connection("flood", Phase.ACTIVE) for _ in range(7)]
    table = table_of(connection("store"), *busy)

    assert table.displaced_by("flood") is None


def test_only_peer_is_not_bounded_below_the_total() -> None:
    """All agents of a chain come through one reverse proxy."""
    table = table_of(*(connection("proxy") for _ in range(7)), most=8)

    assert table.displaced_by("proxy") == []


@given(connections=CONNECTIONS, peer=st.sampled_from("abcd"), most=st.integers(1, 12))
def test_displaced_connections_wait_and_belong_to_peers_that_hold_no_less(
    connections: list[tuple[str, Phase, float]], peer: str, most: int
) -> None:
    entries = [connection(of, phase, since) for of, phase, since in connections]
    held = Counter(entry.peer for entry in entries)
    table = table_of(*entries, most=most)

    displaced = table.displaced_by(peer)

    for one in displaced or []:
        assert one.phase in WAITING
        assert held[one.peer] >= held[peer]
    if displaced is not None:
        assert len(entries) - len(displaced) < most


@given(connections=CONNECTIONS)
def test_removed_connections_leave_nothing_behind(
    connections: list[tuple[str, Phase, float]],
) -> None:
    entries = [connection(of, phase, since) for of, phase, since in connections]
    table = table_of(*entries, most=1)
    for entry in entries * 2:
        table.remove(entry)

    assert (len(table), table.displaced_by("a"), table.overdue(1e9)) == (0, [], [])


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (("192.0.2.7", 1234), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1234, 0, 0), "2001:db8:1:2::"),
        (("2001:db8:1:2:ffff::1", 1234, 0, 0), "2001:db8:1:2::"),
        (("::ffff:192.0.2.7", 1234, 0, 0), "192.0.2.7"),
        (("fe80::1%eth0", 1234, 0, 2), "fe80::"),
        ("", ""),
    ],
)
def test_peer_is_a_host_or_a_network_of_ipv6(address: object, peer: str) -> None:
    assert peer_of(address) == peer


def test_near_the_bound_responses_end_the_connections_of_those_who_hold_the_most() -> None:
    """More agents than the bound, each with one connection: none may be cut off in a request."""
    table, one, other = table_of(most=8), connection("a"), connection("b")
    for added in (one, *(connection("a") for _ in range(4)), other):
        table.add(added)
    table.overdue(0)
    assert not table.is_to_end(one)
    table.add(connection("c"))
    table.overdue(0)

    assert (table.is_to_end(one), table.is_to_end(other)) == (True, False)


def test_agents_that_hold_one_connection_each_share_a_crowded_table() -> None:
    connections = [connection(str(number)) for number in range(8)]
    table = table_of(*connections)
    table.overdue(0)

    assert all(map(table.is_to_end, connections))
