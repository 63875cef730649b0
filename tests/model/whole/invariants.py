"""The promises, as questions to a chain that has come to rest."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from agent.capture.session_answer import SessionAnswers
from sync.protocol.program_terms import ProgramTerms, session_kind
from sync.receiver.reports.completeness.audit import audit
from sync.receiver.reports.completeness.state import EpochCompleteness
from sync.receiver.reports.conditions import Condition
from sync.receiver.reports.tills import Reference, TillStatus, list_tills
from tests.model.whole.clocks import us_of
from tests.model.whole.head_office import number_in
from tests.model.whole.machine import TERMS, Held
from tests.model.whole.steps.chain import TILLS, Chain

DELAY_TOLERANCE_US = 1_000_000


@dataclass
class Findings:
    """Everything about a chain at rest, read once."""

    chain: Chain
    tables: Mapping[str, list[dict[str, Any]]]
    epochs: Mapping[tuple[str, str], EpochCompleteness]
    held: list[Held]
    tills: Sequence[TillStatus]
    stored: dict[int, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for table in ("sessions", "email_answers"):
            for row in self.tables[table]:
                self.stored[number_in(row["body"])].append(row)


def unnoticed(found: Findings) -> Iterator[str]:
    """Head office notices two machines under one name."""
    names = Counter(one.name.till_id for one in found.chain.alive if one.was_used)
    for till in found.tills:
        is_noticed = Condition.SHARED_NAME in till.conditions
        if names[till.till_id] > 1 and not is_noticed:
            yield f"head office does not notice that two machines are called {till.till_id}"


async def look(chain: Chain) -> Findings:
    """Read all."""
    reference = Reference(chain.time.at(), "1.0")
    tills = await chain.office.database.read(partial(list_tills, reference=reference))
    tables = await chain.office.all_rows()
    epochs = {(one.till_id, one.epoch): one async for one in audit(chain.office.database, None)}
    held = [one for machine in chain.alive for one in machine.held()]
    return Findings(chain, tables, epochs, held, tills)


def breaches(found: Findings) -> Iterator[str]:
    """Yield each promise that is broken."""
    yield from found.chain.problems
    yield from lost(found)
    yield from held_and_not_sent(found)
    yield from told_twice(found)
    yield from unnoticed(found)
    yield from recorded_twice(found)
    yield from stored_twice(found)
    yield from out_of_order(found)
    yield from wrong_times(found)
    yield from dead_letters(found)
    yield from addresses(found)
    yield from false_alarms(found)
    yield from outstanding_for_ever(found)
    yield from other_terms(found)


def lost(found: Findings) -> Iterator[str]:
    """A request that a till was told is recorded is at head office, or is named there."""
    chain = found.chain
    waiting = {one.number for one in found.held if one.is_pending or one.is_dead}
    settled = found.stored.keys() | chain.office.memory.purged | waiting | chain.discarded
    for number in chain.book.told.keys() - settled:
        numbers = sorted(chain.receipts.get(number, ()), key=str)
        is_said = any(is_named(found, till, one.epoch, one.sequence) for till, one in numbers)
        if not is_said and not is_excused(found, number):
            yield f"request {number} ({_text(numbers)}) is nowhere, and nobody says so"


def held_and_not_sent(found: Findings) -> Iterator[str]:
    """A machine never holds for itself what head office lacks."""
    here = found.stored.keys() | found.chain.office.memory.purged
    for one in found.held:
        if not (one.is_pending or one.is_dead or one.is_discarded or one.number in here):
            yield f"request {one.number} is held as delivered, and head office lacks it"


def is_named(found: Findings, till_id: str, epoch: str, sequence: int) -> bool:
    """Return whether head office says that it lacks this number, or has refused it."""
    state = found.epochs.get((till_id, epoch))
    if state is None:
        return False
    kinds = (state.rejected, state.gaps, state.missing, state.outstanding, state.acknowledged_gaps)
    named = any(one.first <= sequence <= one.last for kind in kinds for one in kind)
    return named or is_unconfirmed(state)


def is_unconfirmed(state: EpochCompleteness) -> bool:
    """Return whether head office says that it does not know where the epoch ended."""
    return bool(getattr(state, "unconfirmed", False))


def is_excused(found: Findings, number: int) -> bool:
    """Return whether neither head office nor any machine can know that the request existed."""
    chain, heard = found.chain, found.chain.office.memory.heard
    numbers = chain.receipts.get(number, set())
    if number in chain.under_a_used_number:
        return True
    if number in chain.by_a_person:
        return number in chain.unheard or chain.is_unheard(number)
    return all((till, one.epoch) not in heard for till, one in numbers)


def told_twice(found: Findings) -> Iterator[str]:
    """No receipt is given out twice, unless a person put back database and mark, or cloned both.

    After head office has noticed the clones, not even then.
    """
    chain = found.chain
    for receipt, numbers in chain.book.told_twice.items():
        is_excused = receipt.epoch in chain.twice_by_a_person
        if not is_excused or receipt in chain.receipts_after_notice:
            yield f"receipt {receipt} was told for the requests {sorted(numbers)}"


def recorded_twice(found: Findings) -> Iterator[str]:
    """A machine has no more events of a request than it was asked to record."""
    asked = found.chain.book.captured_us
    for machine in found.chain.alive:
        if machine.was_used:
            counts = Counter(one.number for one in machine.held())
            for number, count in counts.items():
                if count > len(asked[number]):
                    yield f"request {number} is recorded {count} times on one machine"


def stored_twice(found: Findings) -> Iterator[str]:
    """Each capture has its effect once."""
    for number, rows in found.stored.items():
        captures = len(set(map(str, found.chain.book.told.get(number, ())))) or 1
        tills = {row["till_id"] for row in rows}
        is_answer = found.chain.book.requests[number - 1].is_answer
        most = captures if is_answer else len(tills)
        if len(rows) > most:
            yield f"request {number} is stored {len(rows)} times"


def out_of_order(found: Findings) -> Iterator[str]:
    """The answers of a session are in the order in which they were captured."""
    captured, sessions = found.chain.book.captured_us, defaultdict(list)
    names = [machine.name.till_id for machine in found.chain.machines]
    for row in found.tables["email_answers"]:
        if names.count(row["till_id"]) == 1 and len(captured[number_in(row["body"])]) == 1:
            sessions[row["till_id"], row["correlation_id"]].append(row)
    for (till, name), rows in sessions.items():
        arrived: dict[str, Any] = {}
        for row in rows:
            first = arrived.setdefault(row["epoch"], row["received_at"])
            arrived[row["epoch"]] = min(first, row["received_at"])
        rows.sort(key=lambda row: (arrived[row["epoch"]], row["epoch"], row["sequence"]))
        numbers = [number_in(row["body"]) for row in rows]
        times = [captured[number] for number in numbers]
        if times != sorted(times):
            yield f"the answers of {name} at {till} are in the order {numbers}"


def wrong_times(found: Findings) -> Iterator[str]:
    """A time that is trusted is right, within the time that the message was on its way."""
    late_by, captured = found.chain.office.memory.late_by, found.chain.book.captured_us
    for number, rows in found.stored.items():
        for row in rows:
            delay = late_by.get((row["till_id"], row["epoch"], row["sequence"]))
            if row["corrected_at"] is None or delay is None or number not in captured:
                continue
            wrong_by = min((us_of(row["corrected_at"]) - at for at in captured[number]), key=abs)
            if not -DELAY_TOLERANCE_US <= wrong_by <= delay + DELAY_TOLERANCE_US:
                yield (
                    f"the time of request {number} is wrong by {wrong_by / 1e6:.0f} s,"
                    f" the line took {delay / 1e6:.0f} s"
                )


def dead_letters(found: Findings) -> Iterator[str]:
    """No dead letter is left, except where the till's own requests explain it."""
    chain = found.chain
    by_id: Counter[str] = Counter(
        one.correlation_id for one in chain.book.requests if not one.is_answer
    )
    for one in found.held:
        request = chain.book.requests[one.number - 1]
        explained = by_id[request.correlation_id] > 1 or bool(chain.discarded)
        if one.is_dead and not explained:
            yield f"request {one.number} is a dead letter: {one.error_code}"


def addresses(found: Findings) -> Iterator[str]:
    """An erased address stays erased, at head office and on the machines."""
    for row in found.tables["email_answers"]:
        number = (row["till_id"], row["epoch"], row["sequence"])
        forgotten = found.chain.office.memory.forgotten.get(number)
        if forgotten and (row["email_address"] == forgotten or forgotten in row["body"]):
            yield f"the forgotten address of {number} is back"
    for one in found.held:
        if one.has_address and not (one.is_pending or one.is_dead):
            yield f"the address of request {one.number} is still on its machine"


def false_alarms(found: Findings) -> Iterator[str]:
    """If nothing is lost, head office says that all is here.

    A till may use an id again before the damaged database with the first session is salvaged: the
    salvage cannot feed that in, and head office rightly says that it is missing.
    """
    chain = found.chain
    told = [
        one for one in chain.book.requests if not one.is_answer and one.number in chain.book.told
    ]
    uses = Counter(one.correlation_id for one in told)
    used_again = {
        (till, receipt.epoch)
        for one in told
        if uses[one.correlation_id] > 1 and one.number not in found.stored
        for till, receipt in chain.receipts.get(one.number, ())
    }
    is_calm = len(chain.machines) == len(TILLS) and not chain.disturbed
    if not is_calm:
        return
    for (till, epoch), state in found.epochs.items():
        if not state.is_complete and (till, epoch) not in used_again:
            yield f"{till} {epoch} is called incomplete: {state}"


def outstanding_for_ever(found: Findings) -> Iterator[str]:
    """No number is called outstanding whose capture has arrived under another one.

    Unless no machine knows of the number any more: a person put back database and mark, or the
    machine is gone. Then head office says that it lacks it, until somebody acknowledges that.
    """
    requests: dict[tuple[str, str, int], set[int]] = defaultdict(set)
    for number, receipts in found.chain.receipts.items():
        for till, receipt in receipts:
            requests[till, receipt.epoch, receipt.sequence].add(number)
    for (till, epoch), state in found.epochs.items():
        if epoch in found.chain.forgotten_epochs:
            if state.outstanding and not is_unconfirmed(state):
                yield f"{till} {epoch} is outstanding, and is not called unconfirmed"
            continue
        for sequence in itertools.chain(
            *(range(one.first, one.last + 1) for one in state.outstanding)
        ):
            numbers = requests[till, epoch, sequence]
            if numbers and numbers <= found.stored.keys():
                yield f"{till} {epoch}/{sequence} is outstanding, though requests {numbers} arrived"


def other_terms(found: Findings) -> Iterator[str]:
    """Each agent answers tills by the program terms that head office publishes."""
    expected = SessionAnswers(TERMS)
    expected.adopt(msgspec.json.decode(found.chain.office.terms[0], type=ProgramTerms))
    kind = session_kind({}, None)
    for machine in found.chain.alive:
        if machine.was_used and machine.answers.answer("", kind) != expected.answer("", kind):
            yield f"{machine.name.till_id} does not use the published program terms"


def _text(numbers: Iterable[tuple[str, object]]) -> str:
    return ", ".join(f"{till} {receipt}" for till, receipt in numbers) or "no receipt"
