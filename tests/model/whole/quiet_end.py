"""Brings a history to rest: all machines up, all lines up, everything delivered."""

from tests.model.whole.clocks import DAY_US
from tests.model.whole.machine import Machine
from tests.model.whole.steps.all_steps import AllSteps
from tests.model.whole.steps.chain import TILLS

MAX_ROUNDS = 12
STILL_ROUNDS = 1


async def come_to_rest(chain: AllSteps) -> None:
    """Let everything arrive. Raises `AssertionError` if that never ends."""
    await chain.late_arrives(1)
    await chain.understand()
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
    for machine in _used(chain):
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
        if any(one.is_dead for one in machine.held()):
            await machine.outbox.dead_letters.retry_due()
        await machine.heartbeat()
        await machine.deliver()
        machine.untold = set()


def _used(chain: AllSteps) -> list[Machine]:
    return [machine for machine in chain.alive if machine.was_used]


async def _state(chain: AllSteps) -> object:
    held = [[(one.number, one.is_pending, one.is_dead) for one in m.held()] for m in _used(chain)]
    epochs = [machine.epochs() for machine in _used(chain)]
    return held, epochs, await chain.office.numbers()
