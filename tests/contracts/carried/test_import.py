"""A bundle is taken as the batches of its till would be, once, whatever came before."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import pytest

from sync.protocol.agent_token import hash_token
from sync.protocol.bundle.sealing import BundleError, key_id_of
from sync.protocol.wire import EpochExtent, ErrorCode
from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.carried import large_batches
from sync.receiver.carried.bundle_file import open_bundle
from sync.receiver.carried.import_bundle import BundleImport, ImportReport
from sync.receiver.db.database import Database
from sync.receiver.db.tables import (
    AgentRecord,
    AuditRecord,
    GapRecord,
    RejectionRecord,
    SessionRecord,
)
from tests.support.head_office.audit import audit_by
from tests.support.head_office.bundles import HEAD_OFFICE_KEY, sealed
from tests.support.head_office.enrolment import issue_token
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT, Members, SimulatedAgent, sessions

OLD = SimulatedAgent(epoch="0d5f1a0c-5a0e-4a52-9b3c-3f5b8c1d2e00")
NEW = SimulatedAgent(epoch="f1a9c7e4-1111-4222-8333-444455556666")
LATER = AT + timedelta(days=3)


@dataclass(slots=True)
class Post:
    """Head office with one enrolled till, whose bundles arrive three days later."""

    office: LedgerDriver
    token_hash: str

    @property
    def database(self) -> Database:
        return self.office.database

    async def take(
        self, content: bytes, *, accept_unproven: bool = False, interrupted_after: int = -1
    ) -> ImportReport:
        """Import a bundle; `interrupted_after` this many batches the process is gone."""
        bundle = open_bundle(
            io.BytesIO(content), {key_id_of(HEAD_OFFICE_KEY.public_key()): HEAD_OFFICE_KEY}
        )
        shown: list[int] = []

        def show(remaining: int) -> None:
            shown.append(remaining)
            if len(shown) == 1 + interrupted_after:
                raise KeyboardInterrupt

        work = BundleImport(self.database, self.office.ledger, audit_by(), lambda: LATER)
        origin = await work.origin(bundle, accept_unproven=accept_unproven)
        report = ImportReport()
        await work.take(bundle, origin, "stick.bundle", report, show)
        return report

    def bundle(
        self, *parts: tuple[SimulatedAgent, Sequence[Members]], epochs: Sequence[EpochExtent] = ()
    ) -> bytes:
        """Return a bundle of the till with these events of its epochs, ten in a batch."""
        batches = [
            (sender.batch(*events[at : at + 10]), len(events[at : at + 10]))
            for sender, events in parts
            for at in range(0, len(events), 10)
        ]
        return sealed(parts[-1][0], batches, epochs=epochs, token_hash=self.token_hash)

    async def numbers(self, epoch: str) -> list[int]:
        """Return the numbers of the sessions of an epoch."""
        rows = await self.office.rows(SessionRecord, "epoch", "sequence")
        return sorted(int(str(number)) for name, number in rows if name == epoch)


@pytest.fixture
async def post(office: LedgerDriver) -> Post:
    token = await issue_token(Enrolment(office.database), OLD.name, b"s" * 32)
    return Post(office, hash_token(token))


def extent(sender: SimulatedAgent, last: int) -> EpochExtent:
    """Return an epoch of the till of which all is held."""
    return EpochExtent(epoch=sender.epoch, last_sequence=last)


async def test_bundle_is_taken_and_recognised_when_it_comes_again(post: Post) -> None:
    bundle = post.bundle((OLD, sessions(1, 25)))

    first, second = (await post.take(bundle)).total, (await post.take(bundle)).total

    assert (first.taken, first.already_here) == (25, 0)
    assert (second.taken, second.already_here) == (0, 25)
    assert await post.numbers(OLD.epoch) == list(range(1, 26))


@pytest.fixture
def unjoined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch is a transaction of its own."""
    monkeypatch.setattr(large_batches, "MOST_EVENTS", 1)


@pytest.mark.usefixtures("unjoined")
@pytest.mark.parametrize("batches", [1, 2])
async def test_interrupted_import_is_completed_by_its_repetition(post: Post, batches: int) -> None:
    bundle = post.bundle((OLD, sessions(1, 25)))
    with pytest.raises(KeyboardInterrupt):
        await post.take(bundle, interrupted_after=batches)

    total = (await post.take(bundle)).total

    assert (total.taken, total.already_here) == (25 - 10 * batches, 10 * batches)
    assert await post.numbers(OLD.epoch) == list(range(1, 26))


@pytest.mark.usefixtures("unjoined")
async def test_numbers_that_are_still_to_come_are_missing_after_an_interruption(
    post: Post,
) -> None:
    """Completeness must not say that all is here."""
    with pytest.raises(KeyboardInterrupt):
        await post.take(post.bundle((OLD, sessions(1, 25))), interrupted_after=1)

    assert await post.office.rows(AgentRecord, "accepted_through", "last_sequence") == [(10, 25)]


async def test_bundle_after_the_line_is_back_adds_what_is_missing_only(post: Post) -> None:
    await post.office.take(OLD, *sessions(1, 15))

    total = (await post.take(post.bundle((OLD, sessions(1, 25))))).total

    assert (total.taken, total.already_here) == (10, 15)


async def test_line_that_is_back_after_the_import_repeats_without_effect(post: Post) -> None:
    await post.take(post.bundle((OLD, sessions(1, 25))))

    heartbeat = await post.office.heartbeat(OLD, lastSequence=30)
    taken = await post.office.take(OLD, *sessions(1, 30))

    assert heartbeat == {OLD.epoch: 25}
    assert (taken.accepted_through, len(taken.sessions)) == (30, 5)


async def test_older_bundle_that_arrives_last_changes_nothing(post: Post) -> None:
    older = post.bundle((OLD, sessions(1, 10)), epochs=[extent(OLD, 10)])
    newer = post.bundle(
        (OLD, sessions(1, 12)),
        (NEW, sessions(1, 5)),
        epochs=[extent(OLD, 12), extent(NEW, 5)],
    )

    await post.take(newer)
    before = await post.office.rows(AgentRecord, "epoch", "is_current", "last_sequence")
    total = (await post.take(older)).total

    assert (total.taken, total.already_here) == (0, 10)
    assert await post.office.rows(AgentRecord, "epoch", "is_current", "last_sequence") == before
    assert sorted(before) == [(OLD.epoch, None, 12), (NEW.epoch, True, 5)]


async def test_two_bundles_in_the_right_order_end_with_the_newer_epoch(post: Post) -> None:
    await post.take(post.bundle((OLD, sessions(1, 10)), epochs=[extent(OLD, 10)]))
    await post.take(post.bundle((NEW, sessions(1, 5)), epochs=[extent(OLD, 10), extent(NEW, 5)]))

    rows = await post.office.rows(AgentRecord, "epoch", "is_current", "accepted_through")
    assert sorted(rows) == [(OLD.epoch, None, 10), (NEW.epoch, True, 5)]


async def test_rejected_events_are_recorded_and_the_till_hears_of_them_later(post: Post) -> None:
    events = sessions(1, 12)
    events[4] = {**events[4], "type": "unheard.of"}

    total = (await post.take(post.bundle((OLD, events)))).total
    resent = await post.office.take(OLD, *events)

    assert (total.taken, dict(total.rejected)) == (11, {ErrorCode.UNKNOWN_TYPE: 1})
    assert await post.office.rows(RejectionRecord, "sequence") == [(5,)]
    assert [one.sequence for one in resent.rejections] == [5]


async def test_bundle_that_begins_beyond_what_head_office_has_is_named_and_not_taken(
    post: Post,
) -> None:
    """Head office was restored from a backup: the till has the numbers between as delivered."""
    report = await post.take(
        post.bundle((OLD, sessions(11, 20)), (NEW, sessions(1, 5)), epochs=[extent(NEW, 5)])
    )

    old, new = report.epochs[OLD.epoch], report.epochs[NEW.epoch]
    assert (old.taken, dict(old.refused), old.expected) == (0, {ErrorCode.SEQUENCE_GAP: 10}, 1)
    assert new.taken == 5
    assert await post.office.rows(GapRecord, "first_sequence") == []


async def test_batch_without_captures_is_refused(post: Post) -> None:
    """No agent writes one, and millions of them would be a transaction each."""
    content = sealed(OLD, [(OLD.batch(), 0)], epochs=[extent(OLD, 1)], token_hash=post.token_hash)

    with pytest.raises(BundleError, match="it has a batch without captures"):
        await post.take(content)


async def test_bundle_of_another_till_s_name_needs_the_token_of_that_till(post: Post) -> None:
    """The public key is on every POS machine: it proves nothing."""
    content = sealed(OLD, [(OLD.batch(*sessions(1, 5)), 5)], token_hash=hash_token("another"))

    with pytest.raises(BundleError, match="nothing proves that 0042/till-1 wrote it"):
        await post.take(content)
    assert await post.numbers(OLD.epoch) == []
    report = await post.take(content, accept_unproven=True)

    assert report.total.taken == 5


@pytest.mark.parametrize("sender", [SimulatedAgent("0042", "till-2"), SimulatedAgent("0007")])
async def test_bundle_of_a_till_that_is_not_enrolled_is_refused_by_name(
    post: Post, sender: SimulatedAgent
) -> None:
    content = sealed(sender, [(sender.batch(*sessions(1, 5)), 5)], token_hash=post.token_hash)

    with pytest.raises(BundleError, match=f"{sender.store_id}/{sender.till_id} is not enrolled"):
        await post.take(content, accept_unproven=True)
    assert await post.office.rows(AgentRecord, "epoch") == []


async def test_bundle_of_a_revoked_till_is_refused(post: Post) -> None:
    await Enrolment(post.database).revoke(OLD.name, audit_by())

    with pytest.raises(BundleError, match="not enrolled here, or was revoked"):
        await post.take(post.bundle((OLD, sessions(1, 5))))


async def test_token_that_was_replaced_but_not_yet_used_still_proves(post: Post) -> None:
    """The bundle was on its way when the till was enrolled again."""
    await issue_token(Enrolment(post.database), OLD.name, b"t" * 32)

    assert (await post.take(post.bundle((OLD, sessions(1, 5))))).total.taken == 5


async def test_import_tells_when_the_bundle_was_written_and_not_that_the_till_is_there(
    post: Post,
) -> None:
    await post.take(post.bundle((OLD, sessions(1, 5))))

    assert await post.office.rows(AgentRecord, "last_seen_at", "heartbeat_at") == [(AT, None)]


async def test_import_does_not_make_the_last_word_of_a_till_older(post: Post) -> None:
    post.office.at = AT + timedelta(days=1)
    await post.office.take(OLD, *sessions(1, 2))
    await post.take(post.bundle((OLD, sessions(1, 5))))

    assert await post.office.rows(AgentRecord, "last_seen_at") == [(AT + timedelta(days=1),)]


async def test_time_on_the_way_does_not_shift_the_times_of_captures(post: Post) -> None:
    """A batch that is sent says what its clock reads now; one that is carried says nothing."""
    await post.take(post.bundle((OLD, sessions(1, 1))))

    ((corrected_at, is_trusted),) = await post.office.rows(
        SessionRecord, "corrected_at", "clock_trusted"
    )
    assert (corrected_at, is_trusted) == (AT - timedelta(seconds=999), True)


async def test_import_is_in_the_audit_log_before_its_first_event(post: Post) -> None:
    with pytest.raises(KeyboardInterrupt):
        await post.take(post.bundle((OLD, sessions(1, 25))), interrupted_after=1)

    rows = await post.office.rows(AuditRecord, "action", "store_id", "till_id", "detail")
    detail = (
        '{"file":"stick.bundle","events":25,"written_at":"2026-03-04T05:06:07.000Z","proven":"yes"}'
    )
    assert ("import", "0042", "till-1", detail) in rows
