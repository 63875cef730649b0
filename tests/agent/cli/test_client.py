"""Client of the commands: choice of the token, and the error without one."""

import os
from pathlib import Path

import pytest

from agent.cli.client import AgentClient, AgentError
from agent.config.settings import ApiSettings
from tests.support.agent.in_process import agent_in_a_thread, settings_in

NOBODY = 65_534


def client_of(directory: Path, **api: object) -> AgentClient:
    return AgentClient(settings_in(directory, api=ApiSettings.model_validate({"port": 9} | api)))


def test_admin_token_is_sent_only_where_it_is_needed(tmp_path: Path) -> None:
    for name in ("admin", "ordinary"):
        (tmp_path / name).write_text(f"{name}-token-0123456789\n")
    files = {"token_file": tmp_path / "ordinary", "admin_token_file": tmp_path / "admin"}
    with agent_in_a_thread(settings_in(tmp_path / "state", api=ApiSettings(port=0, **files))) as on:
        client = client_of(tmp_path, **files, port=on.port)
        client.status()
        with pytest.raises(AgentError, match="No such dead letter"):
            client.request("POST", f"/agent/v1/dead-letters/{'0' * 36}/1/discard", as_admin=True)
        with pytest.raises(AgentError, match="rejects the request"):
            client.request("POST", f"/agent/v1/dead-letters/{'0' * 36}/1/discard")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_user_who_may_not_read_the_admin_token_is_told_to_be_root(tmp_path: Path) -> None:
    (tmp_path / "admin").write_text("admin-token-of-more-than-20\n")
    client = client_of(tmp_path, admin_token_file=tmp_path / "admin")
    os.seteuid(NOBODY)
    try:
        with pytest.raises(AgentError, match=r"api\.admin_token_file.*run the command as root"):
            client.request("POST", "/agent/v1/dead-letters/x/1/discard", as_admin=True)
    finally:
        os.seteuid(0)
