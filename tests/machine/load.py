"""Load from tills during an incident, and the check that no till was affected."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.machine.service import HOST, PORT, Service
from tests.support.till.ledger import TillLedger
from tests.support.till.reconnecting import ReconnectingTills

TILLS = 8


@asynccontextmanager
async def tills_at_work(service: Service, ledger: TillLedger) -> AsyncIterator[ReconnectingTills]:
    """Keep tills connecting and asking during the block; the first capture precedes it."""
    await service.is_active()
    with service.machine.network():
        passers = ReconnectingTills(
            HOST, PORT, ledger.customers(), ledger.acknowledge, ledger.refuse
        )
        passers.start(TILLS)
        await ledger.any_acknowledged.wait()
        yield passers
        await passers.stop()


def assert_no_till_noticed(
    service: Service, ledger: TillLedger, passers: ReconnectingTills
) -> None:
    """Assert that no request failed and each acknowledged capture is stored exactly once."""
    assert passers.connection_errors == []
    assert passers.unanswered == []
    assert ledger.refused == []
    findings = ledger.compare(service.state)
    assert not findings, findings
