"""Random histories of captures in random groups, compared with a small model."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.facts import (
    Capture,
    EmailAnswered,
    EmailStatus,
    IdTaken,
    NoOpenSession,
    Outcome,
    Receipt,
    Recorded,
    SessionStarted,
)
from tests.support.agent.store import EpochIds, opened, query, record

pytestmark = pytest.mark.slow

NAMES = st.sampled_from(["a", "b", "c"])
SESSIONS = st.builds(
    SessionStarted,
    correlation_id=NAMES,
    query_locale=st.sampled_from([None, "en-CA"]),
    closed=st.booleans(),
    body=st.sampled_from([b'{"x":1}', b'{"x":2}']),
)
ADDRESSES = st.sampled_from(["guest.one@example.com", "guest.two@example.com"])
ANSWERS = st.one_of(
    st.builds(
        EmailAnswered,
        correlation_id=NAMES,
        status=st.just(EmailStatus.ACCEPTED),
        address=ADDRESSES,
        body=st.just(b'{"status":"accepted"}'),
    ),
    st.builds(
        EmailAnswered,
        correlation_id=NAMES,
        status=st.just(EmailStatus.DEFERRED),
        address=st.none(),
        body=st.just(b'{"status":"deferred"}'),
    ),
)
# Captures, and between them ends of a group (None) or of the process (...).
HISTORIES = st.lists(
    st.one_of(SESSIONS, ANSWERS, st.none(), st.just(Ellipsis)), min_size=1, max_size=40
)


class Model:
    """The API's rules for repeats and rejections, in dictionaries."""

    def __init__(self) -> None:
        self.kept: list[Capture] = []
        self._sessions: dict[str, tuple[SessionStarted, int]] = {}
        self._answers: dict[str, tuple[EmailAnswered, int]] = {}

    def take(self, capture: Capture) -> Outcome:
        """Return the expected outcome of the capture."""
        known = self._sessions.get(capture.correlation_id)
        if isinstance(capture, SessionStarted):
            if known is None:
                self._sessions[capture.correlation_id] = (capture, len(self.kept) + 1)
                return self._keep(capture)
            # `closed` is part of the body; here the two are drawn independently.
            same = (known[0].body, known[0].query_locale) == (capture.body, capture.query_locale)
            return _repeat(known[1]) if same else IdTaken()
        if known is None or known[0].closed:
            return NoOpenSession()
        last = self._answers.get(capture.correlation_id)
        if last is not None and last[0] == capture:
            return _repeat(last[1])
        self._answers[capture.correlation_id] = (capture, len(self.kept) + 1)
        return self._keep(capture)

    def _keep(self, capture: Capture) -> Recorded:
        self.kept.append(capture)
        return Recorded(Receipt("epoch-1", len(self.kept)), repeated=False)


def _repeat(sequence: int) -> Recorded:
    return Recorded(Receipt("epoch-1", sequence), repeated=True)


@settings(max_examples=60, deadline=None)
@given(history=HISTORIES)
def test_any_history_matches_the_model_and_is_numbered_without_gaps(
    history: "list[Capture | None]",
) -> None:
    model = Model()
    expected = [model.take(item) for item in history if isinstance(item, Capture)]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        assert _play(directory, history) == expected
        positions = query(directory, "SELECT position, body FROM event ORDER BY position")
    assert positions == [(n, kept.body) for n, kept in enumerate(model.kept, 1)]


def _play(directory: Path, history: "list[Capture | None]") -> list[Outcome]:
    """Record the history group by group, reopening the store where it says so."""
    epochs, outcomes, rest = EpochIds(), list[Outcome](), [*history, ...]
    while rest:
        end = rest.index(...)
        with opened(directory, epochs) as store:
            for group in _groups(rest[:end]):
                outcomes += record(store, *group)
        rest = rest[end + 1 :]
    return outcomes


def _groups(items: Sequence[object]) -> list[list[Capture]]:
    groups: list[list[Capture]] = [[]]
    for item in items:
        if isinstance(item, Capture):
            groups[-1].append(item)
        else:
            groups.append([])
    return groups
