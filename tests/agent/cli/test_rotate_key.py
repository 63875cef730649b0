"""`loyalty-agent rotate-key`: its messages, and the keys that it leaves alone."""

from pathlib import Path

import pytest

from agent.store.crypto.old_keys import read_old_keys
from agent.store.crypto.vault import open_vault, read_vault
from tests.support.agent.process import agent
from tests.support.agent.store import KEY_FILE
from tests.support.processes import messages

pytestmark = pytest.mark.process


def rotate_key(state: Path, **variables: str) -> tuple[int, str, str]:
    """Return exit code, output and messages of the command."""
    ended = agent("rotate-key", LOYALTY_AGENT__STORAGE__DIRECTORY=str(state), **variables)
    return ended.returncode, ended.stdout, messages(ended.stderr)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def test_key_of_a_stopped_agent_is_replaced_and_never_printed(state: Path) -> None:
    before = open_vault(state / KEY_FILE)

    code, output, errors = rotate_key(state)

    after = read_vault(state / KEY_FILE)
    assert (code, errors) == (0, "")
    assert after.name in output
    assert "keep a copy of it in another place" in output
    assert not after.has_key_of(before)
    assert [one.has_key_of(before) for one in read_old_keys(state)] == [True]
    assert (state / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert after.key_text().decode().strip() not in output


def test_credential_is_kept_as_an_old_key_and_the_steps_are_named(
    state: Path, tmp_path: Path
) -> None:
    credential = tmp_path / "credentials" / "encryption-key"
    credential.parent.mkdir()
    before = open_vault(credential)

    code, output, errors = rotate_key(
        state, LOYALTY_AGENT__STORAGE__ENCRYPTION_KEY_FILE=str(credential)
    )

    assert (code, output) == (1, "")
    assert "was not changed" in errors
    assert f"install -m 600 /dev/stdin {credential} && systemctl restart loyalty-agent" in errors
    assert read_vault(credential).has_key_of(before)
    assert [one.has_key_of(before) for one in read_old_keys(state)] == [True]


def test_missing_key_is_not_made(state: Path) -> None:
    code, _, errors = rotate_key(state)

    assert code == 1
    assert "there is no key" in errors
    assert list(state.iterdir()) == []


def test_unusable_key_is_a_wrong_configuration(state: Path) -> None:
    (state / KEY_FILE).write_text("no key")

    code, _, errors = rotate_key(state)

    assert code == 2
    assert "does not hold an encryption key" in errors
    assert [one.name for one in state.iterdir()] == [KEY_FILE]
