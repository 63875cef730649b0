"""Draws histories with Hypothesis: a protocol, a kind of history, and its steps."""

from collections.abc import Iterable, Mapping, Sequence

from hypothesis import strategies as st

from tests.model.deferral.shop import KINDS
from tests.model.deferral.watched_central import NAMES
from tests.model.whole.history import History, Step

MAX_STEPS = 16
_INDEX = st.integers(0, 3)
_FAULT = st.integers(0, len(NAMES) - 1)
_LOST = st.sampled_from([NAMES.index("answer lost"), NAMES.index("cut short"), 0, 4])
_REQUEST = st.integers(0, 9)
_YES = st.integers(0, 1)
# The arguments of each step.
STEPS: Mapping[str, Sequence[st.SearchStrategy[int]]] = {
    "session": [],
    "sessions": [st.integers(2, 5)],
    "answer": [_INDEX],
    "bad_session": [_FAULT],
    "bad_session_then": [_LOST, _FAULT],
    "bad_sessions": [st.integers(2, 9), _FAULT],
    "row": [st.integers(3, 5), _FAULT],
    "row_then": [st.integers(3, 5), _LOST, _FAULT],
    "bad_answer": [_INDEX, _FAULT],
    "bad_answer_then": [_INDEX, _LOST, _FAULT],
    "fail": [_INDEX, _FAULT],
    "fail_when_retried": [_FAULT],
    "heal": [_INDEX],
    "heal_all": [],
    "refuse": [_INDEX, st.integers(0, 2)],
    "endpoint_fails": [_YES, _FAULT],
    "contents_fail": [_FAULT],
    "all_fail": [_FAULT],
    "common_end": [],
    "deliver": [st.integers(1, 3)],
    "cut_off": [],
    "cancel": [_REQUEST, _YES],
    "crash": [_REQUEST, _YES],
    "restart": [],
    "wait": [st.integers(0, 4)],
    "retry": [_INDEX],
    "discard": [_INDEX],
    "set_aside": [_INDEX],
    "sync": [],
    "retry_day": [],
    "set_aside_stuck": [],
    "erase": [],
    "purge": [],
    "step_clock": [_INDEX],
    "boot_in_1970": [],
    "put_clock_right": [],
    "heartbeat": [],
    "heartbeat_in_a_pass": [],
    "back_up": [],
    "restore": [],
    "hours": [],
    "week": [],
}
_ALWAYS = "session answer bad_session bad_answer deliver deliver wait"
STEPS_OF: Mapping[str, Sequence[str]] = {
    name: (*_ALWAYS.split(), *steps.split())
    for name, steps in {
        "everything": " ".join(STEPS),
        "sessions": "answer refuse fail fail_when_retried heal set_aside discard hours retry_day",
        "rows": "bad_sessions bad_sessions row sessions hours heal_all all_fail common_end",
        "doubt": "bad_session_then row_then row_then bad_answer_then crash cancel sync heal_all",
        "outages": "endpoint_fails contents_fail all_fail common_end common_end hours cut_off",
        "stuck": "week set_aside_stuck set_aside contents_fail endpoint_fails restart",
        "clocks": "week step_clock boot_in_1970 put_clock_right put_clock_right set_aside_stuck",
        "restores": "back_up back_up restore restore heartbeat heartbeat_in_a_pass refuse erase",
        "retries": "fail_when_retried fail_when_retried session heal retry retry_day sync deliver",
        "housekeeping": "erase erase purge purge discard set_aside retry crash restart",
    }.items()
}


def histories(kinds: Iterable[str], protocols: Iterable[str] = KINDS) -> st.SearchStrategy[History]:
    """Return histories of these kinds."""
    names = [KINDS.index(one) for one in protocols]
    begin = st.tuples(st.just("begin"), st.sampled_from(names))
    return st.one_of(
        [st.builds(_history, begin, _steps(STEPS_OF[kind])) for kind in kinds],
    )


def _history(begin: Step, steps: list[Step]) -> list[Step]:
    return [begin, *steps]


def _steps(names: Sequence[str]) -> st.SearchStrategy[list[Step]]:
    return st.lists(st.one_of([_step(name) for name in names]), min_size=2, max_size=MAX_STEPS)


def _step(name: str) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(name.removesuffix("_then")), *STEPS[name])
