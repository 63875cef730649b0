"""The promises, as questions to a shop after each step and at the end of its history."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from agent.export.backlog import Backlog
from agent.store.queries.status import read_status
from sync.protocol.wire import EventType
from tests.model.deferral.shop import Shop
from tests.model.deferral.state import Held
from tests.support.agent.store import KEY_FILE

_WHOLE = ("SENT_AGAIN", "STANDS_REFUSED", "ADDRESS_ERASED")


def breaches(shop: Shop) -> Iterator[str]:
    """Yield each promise that is broken now."""
    shop.look()
    held = shop.held()
    yield from shop.memory.problems
    yield from shop.central.problems
    yield from _lost(shop, held)
    yield from _twice(shop)
    yield from _out_of_order(shop)
    yield from _unexplained(shop, held)
    yield from _without_address(shop, held)
    yield from _miscounted(shop, held)


def unfinished(shop: Shop) -> Iterator[str]:
    """Yield what has not arrived after all troubles are over and dead letters were retried."""
    there, memory = set(shop.delivered()), shop.memory
    for number, one in shop.held().items():
        final = _is_final(shop, number, one)
        if one.is_undelivered or (one.is_dead and not final):
            yield f"{number} never arrives: {one}"
        elif number not in there and not final and number not in memory.discarded:
            yield f"{number} counts as delivered, and head office lacks it"


def _is_final(shop: Shop, number: int, one: Held) -> bool:
    """Return whether an event can never arrive, for a reason that is shown."""
    name = shop.captured[number - 1][0]
    # A discarded session may have arrived unknown to the agent, which sends no answer of it then.
    given_up = {shop.captured[n - 1][0] for n in shop.memory.discarded}
    return one.code in {"OVERTAKEN", "ADDRESS_ERASED"} or name in given_up


def _lost(shop: Shop, held: Mapping[int, Held]) -> Iterator[str]:
    memory, there = shop.memory, set(shop.delivered())
    kept = {n for n, one in held.items() if one.is_pending or one.code is not None}
    excused = memory.purged | (memory.lost_by_restore & held.keys())
    for number in set(range(1, len(shop.captured) + 1)) - there - kept - excused:
        yield f"{number} is nowhere"


def _twice(shop: Shop) -> Iterator[str]:
    numbers = shop.delivered()
    if shop.kind == "replay" and shop.has_crashed:
        return
    for number in set(numbers):
        if numbers.count(number) > 1:
            yield f"{number} has its effect twice"


def _out_of_order(shop: Shop) -> Iterator[str]:
    records = list(shop.central.ledger.records)
    if shop.is_batch:
        records.sort(key=lambda record: record.sequence or 0)
    of_session: dict[str, list[int]] = defaultdict(list)
    for record in records:
        number = int(str(record.document["n"]))
        # After a crash answers may be sent again, in order.
        if number not in of_session[record.correlation_id]:
            of_session[record.correlation_id].append(number)
    for name, numbers in of_session.items():
        if numbers != sorted(numbers):
            yield f"the captures of {name} arrive in the order {numbers}"


def _unexplained(shop: Shop, held: Mapping[int, Held]) -> Iterator[str]:
    for number, one in held.items():
        if one.is_dead and not one.is_retried and not _is_explained(shop, number, one):
            yield f"{number} is a dead letter without need: {one.code}"


def _is_explained(shop: Shop, number: int, one: Held) -> bool:
    memory = shop.memory
    name, is_answer = shop.captured[number - 1]
    kind = EventType.EMAIL_ANSWERED if is_answer else EventType.SESSION_STARTED
    if number in memory.by_a_person | memory.after_days:
        return True
    match one.code:
        case "REFUSED_BY_GATEWAY":
            return shop.is_dead_by_gateway(number)
        case "INVALID_REQUEST":
            return bool({(name, None), (name, kind)} & memory.refused)
        case "SESSION_REFUSED":
            session = int(name[1:])
            return session in memory.dead | memory.discarded
        case "OVERTAKEN":
            return number in memory.dead
        case code:
            return code in _WHOLE and shop.was_restored


def _without_address(shop: Shop, held: Mapping[int, Held]) -> Iterator[str]:
    for number, one in held.items():
        is_answer = shop.captured[number - 1][1]
        is_done = number in shop.memory.ever_delivered | shop.memory.discarded
        if is_answer and not is_done and not one.has_address:
            yield f"the address of {number} was erased too early"


def _miscounted(shop: Shop, held: Mapping[int, Held]) -> Iterator[str]:
    access, directory = shop.harness.rig.outbox.access, shop.harness.directory
    waiting = shop.harness.runner.run(access.read_hot(read_status, directory)).waiting
    undelivered = {number for number, one in held.items() if one.is_undelivered}
    if waiting != len(undelivered):
        yield f"{waiting} are called waiting, and {sorted(undelivered)} are"
    backlog = Backlog(directory, directory / KEY_FILE)
    extent = backlog.extent()
    windows = list(backlog.windows(extent.last_position))
    exported = {event.position for window in windows for event in window.events}
    if undelivered - exported:
        yield f"an export lacks {sorted(undelivered - exported)}"
