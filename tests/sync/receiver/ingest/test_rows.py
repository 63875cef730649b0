"""Rows built from the decision on a batch: key, time of receipt, corrected time."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import Table

from sync.protocol.wire import Batch, BatchEvent
from sync.receiver.auth.tokens import AgentName, EnrolledAgent
from sync.receiver.db.tables import answers, sessions
from sync.receiver.ingest.events import ValidEvent
from sync.receiver.ingest.ledger_state import AcceptedBatch
from sync.receiver.ingest.parse import InboundBatch
from sync.receiver.ingest.rows import corrected_times, event_columns, event_values
from sync.receiver.ingest.times.clock_skew import BootZero, SkewCorrector
from tests.sync.receiver.ingest.event_builders import answer, session

NOW = datetime(2026, 6, 1, tzinfo=UTC)
IN_1970 = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
COMMON = {"store_id", "till_id", "epoch", "received_at"}
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


def inbound_batch(*sent: BatchEvent, events: Sequence[ValidEvent]) -> InboundBatch:
    """Return a just received batch of boot `now`, as sent and as parsed."""
    batch = Batch(
        store_id="store",
        till_id="till",
        epoch="epoch",
        boot_id="now",
        agent_version="1.0",
        sent_at="",
        base_sequence=1,
        events=list(sent),
    )
    return InboundBatch(EnrolledAgent(AgentName("store", "till"), NOW), batch, events, NOW)


def row_of(
    event: ValidEvent, inbound: InboundBatch, accepted: AcceptedBatch, corrector: SkewCorrector
) -> Mapping[str, object]:
    """Return the row of an accepted event."""
    return as_row(event, corrected_times(inbound, accepted, corrector))


def as_row(event: ValidEvent, times: Mapping[int, datetime | None]) -> Mapping[str, object]:
    """Return the columns and values of an event."""
    (values,) = event_values([event], times)
    return dict(zip(event_columns(type(event)), values, strict=True))


def test_event_time_is_corrected_by_its_own_boot() -> None:
    first, second = session(1, "a", at=IN_1970), session(2, "b", at=IN_1970)
    inbound = inbound_batch(sent(1, boot_id="before"), sent(2), events=[first, second])
    accepted = AcceptedBatch(2, sessions=[first, second])
    zeros = {"before": BootZero(NOW - 9 * DAY), "now": BootZero(NOW - 2 * DAY)}
    corrector = SkewCorrector(NOW, zeros, None)

    times = corrected_times(inbound, accepted, corrector)

    assert times == {1: NOW - 8 * DAY, 2: NOW - DAY}


def test_unknown_time_is_untrusted_and_keeps_the_tills_time() -> None:
    lost = session(1, "a", at=IN_1970)
    accepted = AcceptedBatch(1, sessions=[lost])

    row = row_of(
        lost, inbound_batch(sent(1), events=[lost]), accepted, SkewCorrector(NOW, {}, None)
    )

    assert (row["occurred_at"], row["corrected_at"]) == (IN_1970, None)
    assert row["clock_trusted"] is False


def test_readmitted_session_keeps_its_old_time() -> None:
    late = session(1, "a", at=NOW - 30 * DAY)
    accepted = AcceptedBatch(9, resent_through=9, sessions=[late])

    row = row_of(late, inbound_batch(sent(1), events=[late]), accepted, SkewCorrector(NOW, {}, NOW))

    assert (row["corrected_at"], row["clock_trusted"]) == (NOW - 30 * DAY, True)


@pytest.mark.parametrize(
    ("event", "table"),
    [(session(1, "a"), sessions), (answer(1, "a"), answers)],
    ids=["session", "answer"],
)
def test_rows_have_every_column_but_the_common_ones(event: ValidEvent, table: Table) -> None:
    row = as_row(event, {1: NOW})

    assert row.keys() | COMMON == {column.name for column in table.columns}
