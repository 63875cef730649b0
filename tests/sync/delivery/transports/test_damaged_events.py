"""A damaged event: only its number is sent, and its damage is the verdict on it."""

from dataclasses import replace

from sync.delivery.outcomes import Delivered, Refused
from sync.delivery.transports.auth import NoCredentials
from sync.delivery.transports.central_client import CentralClient
from sync.protocol.wire import ErrorCode
from tests.support.central.in_memory import InMemoryClient
from tests.support.central.scripted import ScriptedCentral
from tests.support.transports import (
    NOW,
    batch_transport,
    replay_transport,
    session,
    verdicts,
    window,
)

DAMAGE = Refused(ErrorCode.DAMAGED, "the stored event is damaged: its body is missing", None)
DAMAGED = replace(session(2), body=b"{}", boot_id="", damage=DAMAGE)


def client_of(central: ScriptedCentral) -> CentralClient:
    return CentralClient(InMemoryClient(central), "http://central", NoCredentials(), lambda: NOW)


async def test_number_of_a_damaged_event_leaves_no_gap_at_head_office() -> None:
    central = ScriptedCentral()
    events = window(session(1), DAMAGED, session(3))
    result = await batch_transport(client_of(central)).send(events, probing=False)
    assert verdicts(result) == {1: Delivered(), 2: DAMAGE, 3: Delivered()}
    assert result.stop is None
    assert [record.sequence for record in central.ledger.records] == [1, 3]


async def test_damaged_event_that_head_office_has_begins_no_epoch() -> None:
    """Its acknowledgement was lost, and its row damaged since."""
    central = ScriptedCentral()
    transport = batch_transport(client_of(central))
    await transport.send(window(session(1), session(2)), probing=False)
    result = await transport.send(window(DAMAGED, session(3)), probing=False)
    assert result.stop is None
    assert verdicts(result) == {2: DAMAGE, 3: Delivered()}


async def test_damaged_event_is_not_replayed() -> None:
    central = ScriptedCentral()
    transport = replay_transport(client_of(central))
    result = await transport.send(window(session(1), DAMAGED, session(3)), probing=False)
    assert verdicts(result) == {1: Delivered(), 2: DAMAGE, 3: Delivered()}
    assert len(central.ledger.records) == 2
