"""After a join: the first delivery, in words, from the agent's status."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest

from agent.cli.client import AgentClient, AgentError, AgentResponse
from agent.cli.join import first_delivery
from agent.cli.join.first_delivery import FirstDelivery, Waiting
from sync.protocol.join_code import JoinCode
from tests.support.agent.in_process import settings_in

CODE = JoinCode("0042", "till-1", "https://hq.example.com", "S" * 25)
Status: TypeAlias = dict[str, object]
Wait: TypeAlias = Callable[..., FirstDelivery]
IDLE: Status = {"state": "idle", "passes": 1, "delivered": 0}
OFFLINE: Status = {
    "state": "retrying",
    "trouble": "no network",
    "detail": "no route",
    "delivered": 0,
}


def status(
    waiting: int | None = 0,
    url: str = CODE.url,
    delivery: Status | None = None,
    **members: object,
) -> Status:
    central = {"url": url}
    return {
        "storeId": "0042",
        "tillId": "till-1",
        "central": central,
        "waiting": waiting,
        "sync": delivery or members or IDLE,
    }


@pytest.fixture
def waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wait:
    """Return a function that waits while the agent answers these statuses; None: unreachable."""
    monkeypatch.setattr(first_delivery, "_POLL_SECONDS", 0.0)

    def wait(
        *statuses: Status | None, patience_seconds: float = 60, refusals: Sequence[str] = ("",)
    ) -> FirstDelivery:
        left = iter(statuses)
        last = statuses[-1]

        def request(_: AgentClient, method: str, path: str) -> AgentResponse:
            now = next(left, last) if method == "GET" else {"path": path}
            if now is None:
                raise AgentError("unreachable")
            return AgentResponse("", now)

        monkeypatch.setattr(AgentClient, "request", request)
        client = AgentClient(settings_in(tmp_path))
        asked = iter(refusals)
        refusal = partial(next, asked, refusals[-1])
        return Waiting(client, CODE, lambda _: None, refusal, patience_seconds).wait()

    return wait


def test_delivered_captures_are_counted(waiting: Wait) -> None:
    found = waiting(
        None,
        status(3, state="delivering", passes=0, delivered=0),
        status(1, state="delivering", passes=1, delivered=2),
        status(0, state="idle", passes=1, delivered=3),
    )

    assert found == FirstDelivery(True, "Delivered: 3 captures, none is waiting.")


def test_machine_without_captures_is_told_that_it_is_accepted(waiting: Wait) -> None:
    found = waiting(status(0, state="idle", passes=0, delivered=0), status(0))

    assert found.is_confirmed
    assert found.text.startswith("Head office accepts this machine. No capture is waiting")


def test_idle_agent_that_head_office_has_not_accepted_is_no_success(waiting: Wait) -> None:
    """Without captures the agent asks nothing, and its state tells nothing."""
    found = waiting(status(0), refusals=["no connection", ""])
    offline = waiting(status(0), refusals=["no connection"], patience_seconds=0.05)

    assert found.is_confirmed
    assert (offline.is_confirmed, offline.text[-13:]) == (False, "no connection")


def test_agent_that_still_has_its_old_settings_does_not_count(waiting: Wait) -> None:
    assert waiting(status(0, url=""), status(0)).is_confirmed
    old = waiting(status(0, url=""), patience_seconds=0.05)

    assert not old.is_confirmed
    assert "still has other settings" in old.text


def test_rejected_machine_is_told_at_once(waiting: Wait) -> None:
    found = waiting(status(2, state="holding", trouble="unauthorized", detail="wrong token"))

    assert found == FirstDelivery(
        False, "head office rejects this machine: unauthorized (wrong token)"
    )


def test_refusal_of_a_proxy_is_not_called_one_of_head_office(waiting: Wait) -> None:
    found = waiting(status(2, state="holding", trouble="refused by the proxy", detail="who?"))

    assert found == FirstDelivery(False, "delivery is held: refused by the proxy (who?)")


@pytest.mark.parametrize(
    ("last", "cause"),
    [
        (None, "the agent does not answer yet"),
        (status(2, delivery=OFFLINE), "no network (no route)"),
        (status(None, delivery=IDLE), "idle"),
    ],
)
def test_cause_is_named_when_patience_ends(waiting: Wait, last: Status | None, cause: str) -> None:
    found = waiting(last, patience_seconds=0.05)

    assert not found.is_confirmed
    assert found.text.endswith(cause)
