"""Brings a history to rest: all machines up, all lines up, everything delivered."""

from tests.model.whole.clocks import DAY_US, MINUTE_US
from tests.model.whole.machine import Machine
from tests.model.whole.steps.all_steps import AllSteps
from tests.model.whole.steps.chain import TILLS

HEARTBEATS_TO_NOTICE = 6
MAX_ROUNDS = 12
STILL_ROUNDS = 1


async def come_to_rest(chain: AllSteps) -> None:
    """Let everything arrive. Raises `AssertionError` if that never ends."""
    await chain.late_arrives(1)
    await chain.understand()
    await chain.allow()
    chain.office.publish_usable()
    for name in TILLS:
        if not any(machine.name == name for machine in chain.alive):
            await chain.add_machine(name)
        if chain.needs_tokens:
            await chain.give_tokens(name)
    before: object = None
    still = 0
    for _ in range(MAX_ROUNDS):
        await _one_round(chain)
        state = await _state(chain)
        still = still + 1 if state == before else 0
        if still == STILL_ROUNDS:
            break
        before = state
    for name in TILLS:
        await _notice_each_other(chain, [one for one in _used(chain) if one.name == name])
    for machine in _used(chain):
        await machine.restart()  # asks for the program terms at its first heartbeat
        await machine.clean_up()
        await machine.heartbeat()
        stuck = [one.number for one in machine.held() if one.is_pending]
        assert not stuck, f"requests {stuck} are never delivered"


async def _one_round(chain: AllSteps) -> None:
    """A day on which all is well."""
    chain.time.pass_us(DAY_US)
    for machine in _used(chain):
        if not machine.is_running:
            await machine.start()
        await machine.retry_due()
        await machine.heartbeat()
        await machine.deliver()


async def _notice_each_other(chain: AllSteps, machines: list[Machine]) -> None:
    """Let machines under one name be heard in turn, as every minute; then each captures again."""
    if len(machines) == 1:
        return
    for _ in range(HEARTBEATS_TO_NOTICE):
        for machine in machines:
            chain.time.pass_us(MINUTE_US)
            await machine.heartbeat()
    for machine in machines:
        chain.receipts_after_notice += await chain.session_on(machine)
    await _one_round(chain)
    await _one_round(chain)


def _used(chain: AllSteps) -> list[Machine]:
    return [machine for machine in chain.alive if machine.was_used]


async def _state(chain: AllSteps) -> object:
    held = [[(one.number, one.is_pending, one.is_dead) for one in m.held()] for m in _used(chain)]
    epochs = [machine.epochs() for machine in _used(chain)]
    return held, epochs, await chain.office.numbers()
