"""Each state that needs a person is reported: in log, status, doctor and metrics.

One row for each kind. Where one of the four says nothing, the row has the reason instead.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest

from agent.api.status.view import Level, Status
from agent.config.central import CentralSettings
from agent.doctor import central, disk_space, port
from agent.doctor.store import database, findings, kept_data
from tests.agent.api.conftest import StartAgent
from tests.support.processes import ROOT
from tests.support.prometheus import parse_samples

SOURCES = [*(ROOT / "agent").rglob("*.py"), *(ROOT / "sync").rglob("*.py")]
READY: dict[str, object] = {
    "waiting": 0,
    "storage": {"state": "ready"},
    "sync": {"state": "idle"},
    "central": {"url": "https://hq.example"},
}


@dataclass(frozen=True)
class Why:
    """The reason for which one of them says nothing."""

    reason: str


@dataclass(frozen=True)
class Said:
    """Where a kind is said: log event, members of the status with their level, doctor, metric.

    A level of WARNING or ALARM is exit code 1 of `status`, and 1 or 2 of `status --check`.
    """

    log: str | Why
    status: tuple[Mapping[str, object], Level] | Why
    doctor: Callable[..., object] | Why
    metric: str | Why


def storage(**members: object) -> dict[str, object]:
    return {"storage": {"state": "ready", **members}}


SALVAGED = {"pending": 0, "salvaged": 3, "unreadable": 1}
LOST = [{"firstSequence": 1, "lastSequence": 2, "isCertain": True}]
A_DEAD_LETTER: tuple[Mapping[str, object], Level] = ({"deadLetters": 1}, Level.WARNING)
KINDS = {
    "dead letter": Said(
        "dead_letter.recorded", A_DEAD_LETTER, findings.check_dead_letters, "dead_letters"
    ),
    "answer of a refused session": Said(
        "dead_letter.recorded", A_DEAD_LETTER, findings.check_dead_letters, "dead_letters"
    ),
    "damaged event": Said(
        "event.damaged", A_DEAD_LETTER, findings.check_damaged_rows, "damaged_rows"
    ),
    "damaged row": Said(
        "store.row_damaged",
        (storage(damagedRows=1), Level.WARNING),
        findings.check_damaged_rows,
        "damaged_rows",
    ),
    "quarantined database": Said(
        "store.quarantined",
        (storage(setAside=["x"], salvage={"pending": 1}), Level.WARNING),
        database.check_quarantine,
        "databases_set_aside",
    ),
    "captures that salvage cannot read": Said(
        "salvage.read",
        (storage(setAside=["x"], salvage=SALVAGED), Level.WARNING),
        database.check_quarantine,
        "unreadable_captures_total",
    ),
    "salvage that waits for room": Said(
        "salvage.postponed",
        (storage(setAside=["x"], salvage={"pending": 1}), Level.WARNING),
        database.check_quarantine,
        "salvage_pending",
    ),
    "lost captures": Said(
        "store.captures_lost",
        ({"lost": LOST}, Level.ALARM),
        findings.check_lost_captures,
        "lost_captures",
    ),
    "address of another key": Said(
        "outbox.decryption_failed", A_DEAD_LETTER, findings.check_addresses, "dead_letters"
    ),
    "delivery held": Said(
        "delivery.holding",
        ({"sync": {"state": "holding", "trouble": "unauthorized"}}, Level.ALARM),
        central.check_credentials,
        "sync_holding",
    ),
    "proxy that rejects this machine": Said(
        "delivery.holding",
        ({"sync": {"state": "holding", "trouble": "refused by the proxy"}}, Level.ALARM),
        central.check_protocol,
        "sync_holding",
    ),
    "too many epochs": Said(
        "delivery.holding",
        ({"sync": {"state": "holding", "trouble": "database replaced too often"}}, Level.ALARM),
        findings.check_epoch,
        "sync_holding",
    ),
    "delivery that needs somebody": Said(
        "delivery.retrying",
        ({"sync": {"state": "retrying", "trouble": "clock wrong"}}, Level.WARNING),
        central.check_clock,
        "sync_failures",
    ),
    "delivery without a line": Said(
        "delivery.retrying",
        Why("expected for days; --max-age of --check says when it is too long"),
        central.check_protocol,
        "oldest_waiting_seconds",
    ),
    "program terms refused": Said(
        "terms.refused",
        ({"termsRefused": {"field": "currency", "reason": "unknown"}}, Level.WARNING),
        findings.check_terms,
        "terms_refused",
    ),
    "program terms not fetched": Said(
        "terms.not_fetched",
        ({"termsNotFetched": {"since": None, "reason": "HTTP 500"}}, Level.WARNING),
        findings.check_terms,
        "terms_not_fetched",
    ),
    "purge ahead of retention": Said(
        "store.purged_early",
        (storage(earlyPurge={"keptDays": 2, "limit": "max_bytes"}), Level.WARNING),
        kept_data.check_retention,
        "purged_early",
    ),
    "copy made before a migration": Said(
        "store.copy_kept",
        Why("a note: it goes by itself; doctor warns when it is old"),
        kept_data.check_copies,
        "migration_copies",
    ),
    "new epoch": Said(
        "store.epoch_began",
        Why("a note: nothing is lost by it, and lost captures have an alarm of their own"),
        findings.check_epoch,
        Why("head office counts epochs; lost_captures has what matters here"),
    ),
    "another machine under this name": Said(
        "name.shared",
        ({"nameSharedSince": "2026-03-04T00:00:00Z"}, Level.ALARM),
        findings.check_shared_name,
        "name_shared",
    ),
    "another program on the port": Said(
        "agent.serving_elsewhere",
        ({"portTakenAt": "::1"}, Level.ALARM),
        port.check_ports,
        Why("the program may answer the scrape itself; doctor names it"),
    ),
    "capture refused on a full disk": Said(
        "request.not_recorded",
        ({"storage": {"state": "full"}}, Level.ALARM),
        disk_space.check_space,
        "ready",
    ),
    "erasure that waits for a reader": Said(
        "store.erasure_waits",
        Why("it ends with the reader; the file is private to the agent's user"),
        Why("doctor is such a reader itself"),
        Why("as for status"),
    ),
    "delivery results in memory": Said(
        "outbox.results_in_memory",
        ({"storage": {"state": "full"}}, Level.ALARM),
        disk_space.check_space,
        "ready",
    ),
}
ROWS = pytest.mark.parametrize("said", KINDS.values(), ids=KINDS.keys())


@ROWS
def test_event_is_in_the_log(said: Said) -> None:
    if isinstance(said.log, str):
        assert any(f'"{said.log}"' in source.read_text("utf-8") for source in SOURCES)


@ROWS
def test_status_has_its_level(said: Said) -> None:
    if isinstance(said.status, tuple):
        members, level = said.status
        assert {one.level for one in Status({**READY, **members}).problems()} == {level}


@ROWS
def test_doctor_has_a_check(said: Said) -> None:
    checkup = (ROOT / "agent/doctor/checkup.py").read_text("utf-8")
    if not isinstance(said.doctor, Why):
        assert f"{said.doctor.__name__}(" in checkup


async def test_each_metric_is_exported(start_agent: StartAgent) -> None:
    agent = await start_agent(central=CentralSettings(url="http://127.0.0.1:9"))
    names = {name for name, _ in parse_samples((await agent.get("/metrics")).body)}

    wanted = {
        f"loyalty_agent_{one.metric}" for one in KINDS.values() if isinstance(one.metric, str)
    }
    assert wanted - names == set()


def test_each_silence_has_a_reason() -> None:
    silences = [
        one
        for said in KINDS.values()
        for one in (said.log, said.status, said.doctor, said.metric)
        if isinstance(one, Why)
    ]
    assert all(len(one.reason.split()) >= 3 for one in silences)
