"""The status of an agent that does not answer, from its database."""

from pathlib import Path

from agent.api.status.report import StatusReport
from agent.monitoring.offline import NOT_RUNNING, StoredState, offline_members
from tests.support.agent.in_process import settings_in


def test_status_of_a_stopped_agent_has_every_member_of_a_running_one(tmp_path: Path) -> None:
    members = offline_members(settings_in(tmp_path), StoredState(NOT_RUNNING), "", 0, "1")

    assert members.keys() == StatusReport.__annotations__.keys()
