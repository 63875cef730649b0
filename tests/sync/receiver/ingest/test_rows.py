"""Rows built from the decision on a batch: key, time of receipt, corrected time."""

from datetime import UTC, datetime, timedelta

import msgspec

from sync.protocol.wire import Batch, BatchEvent
from sync.receiver.auth.tokens import AgentName, EnrolledAgent
from sync.receiver.ingest.accept import AcceptedBatch
from sync.receiver.ingest.clock_skew import SkewCorrector
from sync.receiver.ingest.gaps import Gap
from sync.receiver.ingest.parse import InboundBatch
from sync.receiver.ingest.rows import RowBuilder, corrected_times
from tests.sync.receiver.ingest.event_builders import answer, session, unknown

NOW = datetime(2026, 6, 1, tzinfo=UTC)
IN_1970 = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
KEY = {"store_id": "store", "till_id": "till", "epoch": "epoch"}
DAY_US = 86_400_000_000


def sent(sequence: int, *, boot_id: str | None = None) -> BatchEvent:
    """Return an event on the wire, captured a day after its boot."""
    return BatchEvent(
        sequence=sequence,
        type="",
        correlation_id="",
        occurred_at="",
        body=msgspec.Raw(b"{}"),
        boot_id=boot_id,
        monotonic_us=DAY_US,
    )


def inbound_batch(*events: BatchEvent) -> InboundBatch:
    """Return a just received batch of boot `now`."""
    batch = Batch(
        store_id="store",
        till_id="till",
        epoch="epoch",
        boot_id="now",
        agent_version="1.0",
        sent_at="",
        base_sequence=1,
        events=list(events),
    )
    return InboundBatch(EnrolledAgent(AgentName("store", "till"), NOW), batch, (), NOW)


def rows_of(
    inbound: InboundBatch, accepted: AcceptedBatch, corrector: SkewCorrector | None = None
) -> RowBuilder:
    """Return the row builder of a batch."""
    corrector = corrector or SkewCorrector(NOW, {}, None)
    return RowBuilder(inbound, corrected_times(inbound, accepted, corrector))


def test_event_time_is_corrected_by_its_own_boot() -> None:
    first, second = session(1, "a", at=IN_1970), session(2, "b", at=IN_1970)
    inbound = inbound_batch(sent(1, boot_id="before"), sent(2))
    corrector = SkewCorrector(NOW, {"before": NOW - 9 * DAY, "now": NOW - 2 * DAY}, None)

    rows = rows_of(inbound, AcceptedBatch(2, sessions=[first, second]), corrector)

    assert rows.session(first)["corrected_at"] == NOW - 8 * DAY
    assert rows.session(second)["corrected_at"] == NOW - DAY


def test_unknown_time_is_untrusted_and_keeps_the_tills_time() -> None:
    lost = session(1, "a", at=IN_1970)

    row = rows_of(inbound_batch(sent(1)), AcceptedBatch(1, sessions=[lost])).session(lost)

    assert (row["occurred_at"], row["corrected_at"]) == (IN_1970, None)
    assert row["clock_trusted"] is False


def test_readmitted_session_keeps_its_old_time() -> None:
    late = session(1, "a", at=NOW - 30 * DAY)
    taken = AcceptedBatch(9, resent_through=9, sessions=[late])

    row = rows_of(inbound_batch(sent(1)), taken, SkewCorrector(NOW, {}, NOW)).session(late)

    assert (row["corrected_at"], row["clock_trusted"]) == (NOW - 30 * DAY, True)


def test_rows_omit_the_common_columns() -> None:
    a_session, an_answer, refused = session(1, "a"), answer(2, "a"), unknown(3)
    inbound = inbound_batch(sent(1), sent(2), sent(3))
    rows = rows_of(inbound, AcceptedBatch(3, sessions=[a_session], answers=[an_answer]))

    written = [
        rows.session(a_session),
        rows.answer(an_answer),
        rows.rejection(refused),
        rows.duplicate(an_answer),
    ]

    assert [row["sequence"] for row in written] == [1, 2, 3, 2]
    assert rows.common == KEY | {"received_at": NOW}
    assert not any(rows.common.keys() & row.keys() for row in written)


def test_erased_answer_is_marked_in_its_row() -> None:
    erased = answer(1, "a", None)

    row = rows_of(inbound_batch(sent(1)), AcceptedBatch(1, answers=[erased])).answer(erased)

    assert (row["email_address"], row["address_erased"]) == (None, True)


def test_gap_row_has_range_and_reason() -> None:
    row = rows_of(inbound_batch(), AcceptedBatch(9)).gap(Gap(1, 9, "no longer held"))

    assert row == {
        **KEY,
        "first_sequence": 1,
        "last_sequence": 9,
        "reason": "no longer held",
        "noted_at": NOW,
    }
