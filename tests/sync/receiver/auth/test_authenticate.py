"""Authentication of agents."""

from datetime import UTC, datetime
from http import HTTPStatus

import pytest

from sync.receiver.auth.authenticate import check_sender
from sync.receiver.auth.tokens import AgentName, EnrolledAgent
from sync.runtime.network.http_errors import HttpError


def test_agent_may_send_in_its_own_name() -> None:
    check_sender(EnrolledAgent(AgentName("s", "t"), datetime(2026, 1, 1, tzinfo=UTC)), "s", "t")


@pytest.mark.parametrize(("store_id", "till_id"), [("s", "T"), ("other", "t"), ("t", "s")])
def test_agent_may_not_send_in_another_name(store_id: str, till_id: str) -> None:
    caller = EnrolledAgent(AgentName("s", "t"), datetime(2026, 1, 1, tzinfo=UTC))

    with pytest.raises(HttpError) as raised:
        check_sender(caller, store_id, till_id)

    assert raised.value.status == HTTPStatus.FORBIDDEN
