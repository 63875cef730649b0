"""A service of systemd that is restarted with a wrong setting goes on serving, and says so."""

from pathlib import Path

import pytest
from aiohttp import ClientSession

from sync.runtime.settings.last_working import FILE
from tests.support.agent.process import AGENT
from tests.support.agent.unit import Unit
from tests.support.head_office.process import HQ
from tests.support.processes import LoggedProcess, running_service

pytestmark = pytest.mark.process
GOOD = '[store]\nstore_id = "0042"\n[log]\nformat = "json"\n'
# Each stops a start at another point: not TOML, not a setting, no such file, no such directory.
WRONG = {
    "not TOML": "[store",
    "an unknown setting": GOOD + "[api]\nprot = 8480\n",
    "a missing file": GOOD + '[api]\ntoken_file = "absent"\n',
    "a directory that cannot be made": GOOD + '[storage]\ndirectory = "/proc/none"\n',
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
async def test_agent_restarted_with_a_wrong_setting_serves_with_the_last_that_worked(
    unit: Unit, wrong: str
) -> None:
    await unit.runs_once(GOOD)
    async with unit.running(wrong) as child:
        said = await child.wait_for_log("agent.configuration_rejected")
        assert (await unit.capture()).status == 200
        status = await unit.status()
    assert said["level"] == "ERROR"
    assert status["storeId"] == "0042"
    assert status["configurationRejected"] == {
        "reason": said["reason"],
        "inUseSince": said["in_use_since"],
        "narrowed": [],
    }


async def test_systemd_shows_the_reason_and_the_rejected_file_is_left_alone(unit: Unit) -> None:
    await unit.runs_once(GOOD)
    wrong = WRONG["an unknown setting"]
    async with unit.running(wrong) as child:
        await child.wait_for_log("agent.configuration_rejected")
        while not (told := await unit.manager.hears())[0].startswith("STATUS="):
            """Skip the readiness."""
    assert "line 6" in told[0]
    assert "prot" in told[0]
    assert unit.config.read_text() == wrong


async def test_corrected_setting_applies_at_the_next_restart(unit: Unit) -> None:
    await unit.runs_once(GOOD)
    async with unit.running(WRONG["not TOML"]) as child:
        await child.wait_for_log("agent.configuration_rejected")
    async with unit.running(GOOD.replace("0042", "0043")) as child:
        await child.ready()
        status = await unit.status()
    assert status["storeId"] == "0043"
    assert status["configurationRejected"] is None


async def test_wrong_variable_falls_back_as_a_wrong_file_does(unit: Unit) -> None:
    await unit.runs_once(GOOD)
    async with unit.running(GOOD, LOYALTY_AGENT__API__PORT="none") as child:
        said = await child.wait_for_log("agent.configuration_rejected")
        assert "LOYALTY_AGENT__API__PORT" in str(said["reason"])
        assert (await unit.capture()).status == 200


async def test_till_is_refused_at_once_by_an_agent_that_never_had_a_right_configuration(
    unit: Unit,
) -> None:
    url = f"http://127.0.0.1:{unit.port}/client/users/anonymous/sessions"
    async with unit.running(WRONG["an unknown setting"]) as child, ClientSession() as till:
        async with till.post(url, json={"correlationId": "1", "channel": "STORE"}) as answer:
            body, reason = await answer.json(), answer.headers["Loyalty-Reason"]
        child.terminate()
        assert await child.exit_code() == 2
    assert (answer.status, body["errorCode"]) == (503, "UNAVAILABLE")
    assert "line 6" in reason
    assert not (unit.state / FILE).exists()


async def test_database_that_was_moved_away_does_not_begin_again_at_its_old_place(
    unit: Unit, tmp_path: Path
) -> None:
    """Captures recorded there would be forgotten at the next start."""
    await unit.runs_once(GOOD)
    copy = (unit.state / FILE).read_bytes()
    unit.state.rename(tmp_path / "moved")
    unit.state.mkdir(mode=0o700)
    (unit.state / FILE).write_bytes(copy)
    async with unit.running(WRONG["a directory that cannot be made"]) as child:
        assert (await unit.capture()).status == 503
        child.terminate()
        assert await child.exit_code() == 1
    assert not (unit.state / "agent.db").exists()


async def test_key_that_was_moved_away_is_not_replaced_by_a_new_one(
    unit: Unit, tmp_path: Path
) -> None:
    """It decrypts no address that waits, and the moved one none that is captured meanwhile."""
    key = '[storage]\nencryption_key_file = "{}"\n'
    await unit.runs_once(GOOD + key.format("old.key"))
    (tmp_path / "old.key").rename(tmp_path / "new.key")
    async with unit.running(GOOD + key.format("new.key") + "no_such_setting = 1\n") as child:
        assert (await unit.capture()).status == 503
        child.terminate()
        assert await child.exit_code() == 2
    assert not (tmp_path / "old.key").exists()


async def test_without_systemd_a_wrong_setting_ends_the_agent(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(WRONG["not TOML"])
    command = (*AGENT, "--config", str(config), "run")
    async with running_service(LoggedProcess, command) as child:
        assert await child.exit_code() == 2


async def test_head_office_restarted_with_a_wrong_setting_receives_with_the_last_that_worked(
    tmp_path: Path,
) -> None:
    config, state = tmp_path / "hq.toml", tmp_path / "state"
    state.mkdir(mode=0o700)
    good = '[server]\nport = 0\n[log]\nformat = "json"\n'
    command = (*HQ, "--config", str(config), "serve")
    variables = {"STATE_DIRECTORY": str(state)}
    config.write_text(good)
    async with running_service(LoggedProcess, command, variables=variables) as child:
        await child.wait_for_log("hq.serving")
        child.terminate()
        assert await child.exit_code() == 0
    config.write_text(good + "[intake]\nno_such_setting = 1\n")
    async with running_service(LoggedProcess, command, variables=variables) as child:
        said = await child.wait_for_log("hq.configuration_rejected")
    assert "no_such_setting" in str(said["reason"])
    moved = '[database]\nurl = "sqlite+aiosqlite:////proc/none/hq.db"\n'
    for text, code in ((moved, 1), (moved + "[intake]\nno_such_setting = 1\n", 2)):
        config.write_text(good + text)
        async with running_service(LoggedProcess, command, variables=variables) as child:
            assert await child.exit_code() == code, "the ledger must not be divided"
