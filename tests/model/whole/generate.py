"""Draws histories with Hypothesis: a kind of history, and its steps.

A fault needs certain steps together, and seldom the others: so most histories are of one kind.
"""

from collections.abc import Iterable, Mapping, Sequence

from hypothesis import strategies as st

from tests.model.whole.history import History, Step
from tests.model.whole.line import DENIALS
from tests.model.whole.steps.tills import ODD_MEMBERS

MAX_STEPS = 14
_TILL = st.sampled_from([0, 0, 0, 1])
_MACHINE = st.sampled_from([0, 0, 0, 1, 2])
_INDEX = st.integers(0, 3)
_FAULT = st.sampled_from([0, 0, 0, 0, 1, 2, 3, 4])
_ODD = st.integers(0, len(ODD_MEMBERS) - 1)
_POINTS = st.integers(0, 12)
_INNER = st.one_of(
    st.tuples(st.just("session"), st.just(0)),
    st.tuples(st.just("answer"), _INDEX, _INDEX),
    st.tuples(st.just("deliver"), _FAULT, _FAULT),
    st.tuples(st.just("heartbeat"), _FAULT),
    st.tuples(st.just("clean_up")),
    st.tuples(st.just("restart")),
)
# The arguments of each step.
STEPS: Mapping[str, Sequence[st.SearchStrategy[int]]] = {
    "session": [_MACHINE, _ODD],
    "answer": [_MACHINE, _INDEX, _ODD],
    "repeat_session": [_MACHINE, _INDEX],
    "repeat_answer": [_MACHINE, _INDEX],
    "same_id": [_MACHINE, _INDEX],
    "failed_commit": [_TILL, _INDEX],
    "deliver": [_MACHINE, _FAULT, _FAULT],
    "heartbeat": [_MACHINE, _FAULT],
    "late_arrives": [st.integers(0, 9)],
    "clean_up": [_TILL],
    "restart": [_TILL],
    "upgrade": [_TILL],
    "reboot": [_TILL],
    "step_clock": [_TILL, st.integers(0, 4)],
    "wait": [_INDEX],
    "month": [],
    "image": [_TILL],
    "put_back": [_INDEX, st.integers(0, 1)],
    "lose_wal": [_TILL],
    "damage": [_TILL],
    "clone": [_INDEX],
    "replace": [_MACHINE],
    "come_back": [_INDEX],
    "retry": [_TILL, _INDEX],
    "discard": [_TILL, _INDEX],
    "hours": [_TILL],
    "set_aside": [_TILL, _INDEX],
    "set_aside_stuck": [_TILL],
    "sync": [_TILL],
    "deny": [_INDEX, st.integers(0, len(DENIALS) - 1)],
    "allow": [],
    "refuse": [_INDEX],
    "understand": [],
    "publish": [st.integers(0, 2)],
    "back_up": [],
    "restore": [_INDEX],
    "purge_office": [],
    "forget": [_INDEX],
    "revoke": [_TILL],
    "enroll": [_TILL],
}
_ALWAYS = "session session answer deliver deliver heartbeat"
KINDS: Mapping[str, Sequence[str]] = {
    name: (*_ALWAYS.split(), *steps.split())
    for name, steps in {
        "everything": " ".join([*STEPS, "kill"]),
        "kills": "kill kill kill failed_commit restart repeat_session repeat_answer",
        "images": "image image put_back put_back lose_wal damage restart kill",
        "retention": "month month image put_back repeat_session repeat_answer refuse understand",
        "old answers": "answer month clean_up back_up restore heartbeat",
        "backups": "back_up back_up restore restore clean_up month refuse understand retry kill",
        "firewalls": "deny deny deny allow answer sync hours hours set_aside set_aside_stuck retry",
        "firewalls and more": "deny deny allow sync wait discard restore back_up kill clean_up",
        "machines": "replace replace come_back image clone repeat_session revoke enroll",
        "clones": "image clone clone same_id restart heartbeat",
        "clocks": "late_arrives late_arrives reboot step_clock step_clock clean_up wait",
        "terms": "publish publish upgrade upgrade heartbeat restart",
        "customers": "repeat_session repeat_answer same_id forget clean_up back_up restore discard",
    }.items()
}


def histories(kinds: Iterable[str]) -> st.SearchStrategy[History]:
    """Return histories of these kinds."""
    return st.one_of([_history(KINDS[kind]) for kind in kinds])


def _history(names: Sequence[str]) -> st.SearchStrategy[list[Step]]:
    return st.lists(st.one_of([_step(name) for name in names]), min_size=2, max_size=MAX_STEPS)


def _step(name: str) -> st.SearchStrategy[Step]:
    if name == "kill":
        return st.builds(_kill, _TILL, _POINTS, _INNER)
    return st.tuples(st.just(name), *STEPS[name])


def _kill(till: int, points: int, inner: Step) -> Step:
    return ("kill", till, points, *inner)
