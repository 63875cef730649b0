"""`loyalty-agent export`: its messages for store IT, and the file on the stick."""

import io
import os
import shutil
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from typer.testing import CliRunner, Result

from agent.cli import app
from sync.protocol.bundle.sealing import key_id_of
from sync.receiver.carried.bundle_file import BundleFile, open_bundle
from sync.receiver.carried.private_keys import public_pem
from tests.support.agent.store import answer, change, opened, record, session
from tests.support.processes import messages

KEY = X25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A POS machine with three undelivered captures, which has head office's public key."""
    monkeypatch.setattr("agent.cli.export.command._NICENESS", 0)
    state, token = tmp_path / "state", tmp_path / "token"
    with opened(state) as store:
        record(store, session("one"), answer("one"), session("two"))
    token.write_text("secret-token\n")
    (tmp_path / "hq.pub").write_text(public_pem(KEY))
    for name, value in {
        "STORE__STORE_ID": "0042",
        "STORE__TILL_ID": "till-1",
        "STORAGE__DIRECTORY": str(state),
        "CENTRAL__PUBLIC_KEY_FILE": str(tmp_path / "hq.pub"),
        "CENTRAL__AUTH__KIND": "bearer",
        "CENTRAL__AUTH__TOKEN_FILE": str(token),
    }.items():
        monkeypatch.setenv(f"LOYALTY_AGENT__{name}", value)
    return tmp_path


def export(file: Path) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, ["export", str(file)])


def opened_at_head_office(file: Path) -> BundleFile:
    """Open a bundle with head office's private key."""
    return open_bundle(io.BytesIO(file.read_bytes()), {key_id_of(KEY.public_key()): KEY})


def test_export_says_what_it_wrote_and_what_to_do_with_it(machine: Path) -> None:
    file = machine / "stick.bundle"

    result = export(file)

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{file} has 3 undelivered captures of 0042/till-1.",
        f"Only head office can read it, with its key {key_id_of(KEY.public_key())}.",
        "Nothing is marked as delivered. At head office: loyalty-hq import FILE",
    ]
    assert messages(result.stderr) == ""
    assert opened_at_head_office(file).verify() == 3
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_export_leaves_the_database_as_it_is(machine: Path) -> None:
    before = sorted((file.name, file.read_bytes()) for file in (machine / "state").iterdir())

    assert export(machine / "stick.bundle").exit_code == 0

    after = sorted((file.name, file.read_bytes()) for file in (machine / "state").iterdir())
    assert after == before


def test_second_export_holds_the_same_captures(machine: Path) -> None:
    for name in ("one.bundle", "two.bundle"):
        assert export(machine / name).exit_code == 0
        assert opened_at_head_office(machine / name).verify() == 3


def test_existing_file_is_not_overwritten(machine: Path) -> None:
    file = machine / "stick.bundle"
    file.write_text("the last one")

    result = export(file)

    assert (result.exit_code, file.read_text()) == (2, "the last one")
    assert "exists already: choose another name" in result.stderr


def test_link_that_leads_nowhere_is_not_followed(machine: Path) -> None:
    file = machine / "stick.bundle"
    file.symlink_to(machine / "elsewhere")

    assert export(file).exit_code == 2
    assert not (machine / "elsewhere").exists()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("CENTRAL__PUBLIC_KEY_FILE", "", "central.public_key_file must name head office's"),
        (
            "CENTRAL__PUBLIC_KEY_FILE",
            "/missing/hq.pub",
            "/missing/hq.pub: central.public_key_file: the file cannot be read",
        ),
        ("CENTRAL__PUBLIC_KEY_FILE", os.devnull, "it is no regular file"),
        ("STORE__TILL_ID", "", "store.till_id must be set"),
        ("CENTRAL__PROTOCOL", "replay", 'exports are for protocol "batch"'),
    ],
)
def test_export_that_cannot_be_made_is_wrong_configuration(
    machine: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    if value:
        monkeypatch.setenv(f"LOYALTY_AGENT__{name}", value)
    else:
        monkeypatch.delenv(f"LOYALTY_AGENT__{name}")

    result = export(machine / "stick.bundle")

    assert result.exit_code == 2
    assert reason in result.stderr
    assert not (machine / "stick.bundle").exists()


def test_agent_without_a_token_is_told_that_head_office_will_ask(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOYALTY_AGENT__CENTRAL__AUTH__KIND")

    result = export(machine / "stick.bundle")

    assert result.exit_code == 0
    assert "head office takes it with --unproven only" in result.stderr
    assert opened_at_head_office(machine / "stick.bundle").head.proof == b""


def test_nothing_undelivered_writes_no_file(machine: Path) -> None:
    change(machine / "state", "INSERT INTO destination (name, watermark) VALUES ('central', 3)")

    result = export(machine / "stick.bundle")

    assert (result.exit_code, result.stdout) == (
        0,
        "Nothing is undelivered: no file is written.\n",
    )
    assert not (machine / "stick.bundle").exists()


def test_machine_that_never_captured_says_so(machine: Path) -> None:
    shutil.rmtree(machine / "state")
    (machine / "state").mkdir(mode=0o700)

    result = export(machine / "stick.bundle")

    assert result.exit_code == 1
    assert "nothing was captured here" in result.stderr


def test_missing_encryption_key_is_named_and_not_the_stick(machine: Path) -> None:
    """The stick is fine: a message about it would send store IT the wrong way."""
    key = machine / "state" / "encryption.key"
    key.rename(machine / "elsewhere.key")

    result = export(machine / "stick.bundle")

    assert result.exit_code == 1
    assert f"{key} is missing" in result.stderr
    assert list(machine.glob("*stick*")) == []


def test_full_stick_is_named_and_leaves_nothing(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)

    result = export(machine / "stick.bundle")

    assert result.exit_code == 1
    assert f"cannot write {machine / 'stick.bundle'} (No space left on device)" in result.stderr
    assert list(machine.glob("*stick*")) == []


def test_damaged_database_is_named(machine: Path) -> None:
    database = machine / "state" / "agent.db"
    database.write_bytes(b"nonsense" * 1000)

    result = export(machine / "stick.bundle")

    assert result.exit_code == 1
    assert "the database in" in result.stderr
    assert list(machine.glob("*stick*")) == []
