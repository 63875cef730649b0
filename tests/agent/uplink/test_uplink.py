"""Scheduled jobs and window size of delivery, with and without a configured central."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent.capture.session_answer import SessionAnswers
from agent.config.central import SyncSettings
from agent.uplink.central_connection import KEEP_ALIVE_SECONDS, MAX_PAUSE_SECONDS, window_bytes
from agent.uplink.heartbeat import HEARTBEAT_SECONDS
from agent.uplink.shared_name import SharedName
from agent.uplink.terms_sync import ProgramTermsSync
from agent.uplink.uplink import UplinkDependencies, running_uplink
from sync.receiver.service import IDLE_SECONDS
from sync.runtime.scheduler import Scheduler
from sync.runtime.settings.program import ProgramSettings
from tests.support.agent.erasure import stored_secrets, traces
from tests.support.agent.in_process import settings_in
from tests.support.agent.outbox import OutboxRig, outbox_on
from tests.support.agent.salvage import salvage_of
from tests.support.agent.store import AT, answer, crashed_copy, query, session

DAY_SECONDS = 24 * 3600


class Planned(Scheduler):
    """A schedule that runs its jobs only on demand."""

    def __init__(self) -> None:
        super().__init__()
        self._work: list[Callable[[], Awaitable[object]]] = []

    def every(
        self,
        seconds: float,
        work: Callable[[], Awaitable[object]],
        *,
        first_after_seconds: float | None = None,
    ) -> None:
        self._work.append(work)

    async def do_all(self) -> None:
        for work in self._work:
            await work()


def without_central(rig: OutboxRig, schedule: Scheduler) -> UplinkDependencies:
    answers = SessionAnswers(ProgramSettings().terms())
    terms = ProgramTermsSync(answers, rig.outbox.access, rig.clock)
    settings = settings_in(rig.directory)
    salvage = salvage_of(rig)
    name = SharedName(rig.outbox.access, rig.directory, "boot-1", rig.clock)

    async def is_closing() -> bool:
        return True

    return UplinkDependencies(
        settings, rig.outbox, salvage, terms, name, schedule, lambda: AT, "boot-1", is_closing
    )


async def test_delivered_events_are_purged_after_central_is_unconfigured(
    tmp_path: Path,
) -> None:
    planned = Planned()
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one"))
        await rig.deliver_all()
        await rig.capture(session("two"), answer("two"))
        rig.clock.pass_seconds(31 * DAY_SECONDS)
        async with running_uplink(without_central(rig, planned)) as delivery:
            await planned.do_all()
        assert delivery is None
        assert query(tmp_path, "SELECT position FROM event ORDER BY position") == [(3,), (4,)]
        answers = "SELECT position FROM email_answer WHERE session_position > 0"
        assert query(tmp_path, answers) == [(4,)]


async def test_delivered_addresses_are_erased_after_central_is_unconfigured(tmp_path: Path) -> None:
    planned = Planned()
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one"), answer("one", "another@example.com"))
        await rig.deliver(*(await rig.window(events=2)).events)
        async with running_uplink(without_central(rig, planned)):
            await planned.do_all()
        sealed = "SELECT position FROM email_answer WHERE address IS NOT NULL"
        assert query(tmp_path, sealed) == [(3,)]


async def test_scheduled_jobs_leave_no_delivered_address_in_a_file(tmp_path: Path) -> None:
    planned, live = Planned(), tmp_path / "live"
    async with outbox_on(live) as rig:
        await rig.capture(session("one"), answer("one"))
        addresses, _ = stored_secrets(live)
        await rig.deliver_all()
        async with running_uplink(without_central(rig, planned)):
            await planned.do_all()
        assert len(addresses) == 1
        assert traces(crashed_copy(live, tmp_path / "stolen"), addresses) == []


@given(bandwidth=st.integers(0, 10**9), batch=st.integers(1_024, 67_108_864))
def test_window_size_bounds_the_pause_at_every_bandwidth(bandwidth: int, batch: int) -> None:
    sync = SyncSettings(bandwidth_bytes_per_second=bandwidth, max_batch_bytes=batch)
    assert 1 <= window_bytes(sync) <= batch
    assert not bandwidth or window_bytes(sync) / bandwidth <= MAX_PAUSE_SECONDS


def test_agent_keeps_its_connection_from_heartbeat_to_heartbeat_and_closes_it_first() -> None:
    """Else each heartbeat of a chain costs head office a TLS handshake."""
    assert HEARTBEAT_SECONDS < KEEP_ALIVE_SECONDS < IDLE_SECONDS
