"""Tills at work while something happens to the service, and the proof that none noticed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.crash.ledger import Ledger
from tests.machine.service import HOST, PORT, Service
from tests.till.passers import Passers

TILLS = 8


@asynccontextmanager
async def tills_at_work(service: Service, ledger: Ledger) -> AsyncIterator[Passers]:
    """Have tills come and go for as long as the block lasts, the first ones served before it."""
    await service.is_active()
    with service.machine.network():
        passers = Passers(HOST, PORT, ledger.customers(), ledger.acknowledge, ledger.refuse)
        passers.come(TILLS)
        await ledger.any_acknowledged.wait()
        yield passers
        await passers.leave()


def assert_no_till_noticed(service: Service, ledger: Ledger, passers: Passers) -> None:
    """Each was let in, answered and not refused, and all that was acknowledged is there once."""
    assert passers.turned_away == []
    assert passers.cut_off == []
    assert ledger.refused == []
    findings = ledger.compare(service.state)
    assert not findings, findings
