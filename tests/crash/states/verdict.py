"""Starts an agent's store on a crash state, and compares it with what tills were answered."""

import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from agent.facts import Recorded, Timestamp
from agent.store.open import StoreOpener
from agent.store.store import StoreEnvironment
from tests.support.agent.store import KEY_FILE, LIMITS, session
from tests.support.till.ledger import Findings, TillLedger, read_events

AT = Timestamp(wall_us=1_800_000_000_000_000, monotonic_us=5_000_000)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Captures lost, and the seconds until a till was served."""

    lost: list[str]
    seconds: float


def build(state: Mapping[str, bytes | None], root: str, place: Path) -> None:
    """Write a state below `root` to `place`."""
    place.mkdir()
    for path, content in sorted(state.items()):
        target = place / path.removeprefix(root).lstrip("/")
        if content is None:
            target.mkdir(exist_ok=True)
        elif target.parent.is_dir():
            target.write_bytes(content)
            target.chmod(0o600)


def judge(place: Path, ledger: TillLedger, acknowledged: Iterable[str], new_epoch: str) -> Verdict:
    """Open the store in `place`, serve a till, and look for each acknowledged receipt."""
    place.chmod(0o700)
    environment = StoreEnvironment(lambda: AT.wall_us, lambda: new_epoch, "boot-after")
    began = time.perf_counter()
    with closing(StoreOpener(place, place / KEY_FILE, LIMITS, environment).open()) as store:
        (outcome,) = store.write(store.decide([(session("after-the-crash"), AT)]))
    seconds = time.perf_counter() - began
    assert isinstance(outcome, Recorded)
    findings, receipts = Findings(), set(acknowledged)
    kept = read_events(place, findings)
    lost = [
        f"{name}: {receipt}"
        for name, receipt in ledger.acknowledged.items()
        if receipt in receipts and (name not in kept or kept[name].receipt != receipt)
    ]
    if str(outcome.receipt) in receipts:
        lost.append(f"{outcome.receipt} was given out twice")
    return Verdict(lost + findings.duplicated + findings.gaps, seconds)
