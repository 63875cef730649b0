"""Load from tills during an incident, and the check that no till was affected."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.machine.service import HOST, PORT, Service
from tests.support.till.ledger import TillLedger
from tests.support.till.reconnecting import ReconnectingTills

TILLS = 8


@asynccontextmanager
async def tills_connecting(
    service: Service, ledger: TillLedger
) -> AsyncIterator[ReconnectingTills]:
    """Keep tills connecting and asking during the block; the first capture precedes it."""
    await service.wait_until_active()
    with service.machine.network():
        tills = ReconnectingTills(HOST, PORT, ledger.customers(), ledger.acknowledge, ledger.refuse)
        tills.start(TILLS)
        await ledger.any_acknowledged.wait()
        yield tills
        await tills.stop()


def assert_no_till_affected(service: Service, ledger: TillLedger, tills: ReconnectingTills) -> None:
    """Assert that no request failed and each acknowledged capture is stored exactly once."""
    assert tills.connection_errors == []
    assert tills.unanswered == []
    assert ledger.refused == []
    findings = ledger.compare(service.state)
    assert not findings, findings
