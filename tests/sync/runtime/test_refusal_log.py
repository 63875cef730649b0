"""Refused callers are logged at once, then once a minute with their number, in bounded memory."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

from sync.runtime import summed_log
from sync.runtime.refusal_log import MOST_PEERS, OTHERS, RefusalLog, fingerprint

LOGGER = logging.getLogger("sync.test")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[list[dict[str, object]]]:
    """The fields of each logged line; filled as the test goes on."""
    found: list[dict[str, object]] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.fields)  # type: ignore[attr-defined] # set by log_event

    handler = Collect()
    LOGGER.addHandler(handler)
    caplog.set_level("WARNING", LOGGER.name)
    yield found
    LOGGER.removeHandler(handler)


async def test_thousand_refusals_of_a_peer_are_two_lines(lines: list[dict[str, object]]) -> None:
    log = RefusalLog(LOGGER, "token.refused")

    for number in range(1000):
        log.note("192.0.2.7", "unknown", store=f"{number}")
    log.close()

    assert lines == [
        {"times": 1, "peer": "192.0.2.7", "reason": "unknown", "store": "0"},
        {"times": 999, "peer": "192.0.2.7", "reason": "unknown", "store": "999"},
    ]


async def test_each_peer_has_a_line_of_its_own(lines: list[dict[str, object]]) -> None:
    log = RefusalLog(LOGGER, "token.refused")

    for peer in ("192.0.2.7", "192.0.2.8", "192.0.2.7"):
        log.note(peer, "unknown")
    log.close()

    assert [(line["peer"], line["times"]) for line in lines] == [
        ("192.0.2.7", 1),
        ("192.0.2.8", 1),
        ("192.0.2.7", 1),
    ]


async def test_a_million_addresses_cost_a_bounded_number_of_lines(
    lines: list[dict[str, object]],
) -> None:
    """An attacker with an IPv6 network has a new address for each attempt."""
    log = RefusalLog(LOGGER, "token.refused")

    for number in range(10 * MOST_PEERS):
        log.note(f"2001:db8::{number:x}", "unknown")
    log.close()

    assert len(lines) <= MOST_PEERS + 2
    assert sum(int(str(line["times"])) for line in lines) == 10 * MOST_PEERS
    assert lines[-1]["peer"] == OTHERS


async def test_quiet_peers_make_room_for_new_ones(
    lines: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summed_log, "SECONDS", 0)
    log = RefusalLog(LOGGER, "token.refused")
    for number in range(MOST_PEERS):
        log.note(f"{number}", "unknown")
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    log.note("new", "unknown")
    log.close()

    assert lines[-1]["peer"] == "new"


async def test_claims_are_bounded_and_printable(lines: list[dict[str, object]]) -> None:
    log = RefusalLog(LOGGER, "token.refused")

    log.note("\x1b[2J", "unknown", host="\x1b]0;x\x07" + "y" * 10_000)

    (line,) = lines
    assert str(line["peer"]).isprintable()
    assert str(line["host"]).isprintable()
    assert len(str(line["host"])) < 200


def test_fingerprint_tells_tokens_apart_and_does_not_contain_them() -> None:
    assert fingerprint("secret") == "2bb80d53"
    assert fingerprint("secre\udcfft") != fingerprint("secret")
    assert fingerprint("") == "-"
