"""`loyalty-hq keys` and `loyalty-hq import`: what a person at head office reads."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from typer.testing import CliRunner, Result

from sync.protocol.agent_token import hash_token
from sync.protocol.bundle.sealing import BundleError, key_id_of
from sync.receiver.carried.bundle_file import BundleFile
from sync.receiver.carried.private_keys import read_private_keys
from sync.receiver.cli import app
from tests.support.head_office.bundles import sealed
from tests.support.head_office.messages import SimulatedAgent, sessions
from tests.support.head_office.process import write_config
from tests.support.processes import messages
from tests.support.sqlite import rows_in

TILL = SimulatedAgent()


@pytest.fixture
def office(tmp_path: Path) -> Path:
    """A head office that was never used; return its storage directory."""
    write_config(tmp_path / "hq")
    return tmp_path / "hq"


def hq(office: Path, *arguments: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, ["--config", f"{office}.toml", *arguments])


def bundle_for(office: Path, *, events: int = 5, enrolled: bool = True) -> Path:
    """Return a bundle that is sealed for head office."""
    assert hq(office, "keys").exit_code == 0
    token = hq(office, "enroll", "0042", "till-1").stdout.strip() if enrolled else ""
    (key,) = read_private_keys(office / "hq.private-key.pem")
    batches = [(TILL.batch(*sessions(1, events)), events)]
    file = office.parent / "stick.bundle"
    file.write_bytes(sealed(TILL, batches, token_hash=hash_token(token), key=key))
    return file


def public_key(result: Result) -> X25519PublicKey:
    """Return the key that a command printed."""
    key = load_pem_public_key(result.stdout.encode())
    assert isinstance(key, X25519PublicKey)
    return key


def stored(office: Path) -> int:
    """Return the number of sessions at head office."""
    ((number,),) = rows_in(office / "hq.db", "SELECT count(*) FROM sessions")
    return int(str(number))


def test_first_use_makes_the_key_pair_and_every_use_prints_the_same_public_key(
    office: Path,
) -> None:
    first, second = hq(office, "keys"), hq(office, "keys")

    key = public_key(first)
    assert first.stdout == second.stdout
    assert messages(first.stderr).strip() == f"Key {key_id_of(key)}."
    file = office / "hq.private-key.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "PRIVATE" not in first.stdout


def test_private_key_can_be_in_a_file_of_its_own(office: Path) -> None:
    place = office.parent / "shared.pem"
    with Path(f"{office}.toml").open("a") as config:
        config.write(f'[storage]\ndirectory = "{office}"\nprivate_key_file = "{place}"\n')
    text = Path(f"{office}.toml").read_text().replace(f'[storage]\ndirectory = "{office}"\n', "", 1)
    Path(f"{office}.toml").write_text(text)

    assert hq(office, "keys").exit_code == 0
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert not (office / "hq.private-key.pem").exists()


def test_another_machine_of_head_office_makes_no_second_key_pair(office: Path) -> None:
    """Machines that share a database share the key: else half of the bundles cannot be read."""
    first = hq(office, "keys")
    (office / "hq.private-key.pem").unlink()

    second = hq(office, "keys")

    assert second.exit_code == 1
    key = public_key(first)
    assert f"head office has the key {key_id_of(key)}" in second.stderr
    assert not (office / "hq.private-key.pem").exists()


def test_older_key_opens_bundles_after_a_rotation(office: Path) -> None:
    bundle = bundle_for(office)
    before = hq(office, "keys").stdout

    rotated = hq(office, "keys", "--rotate")

    assert rotated.stdout != before
    assert "1 key from before can open bundles" in rotated.stderr
    keys = json.loads(hq(office, "keys", "--json").stdout)["keys"]
    assert [key["publicKey"] for key in keys] == [rotated.stdout, before]
    assert hq(office, "import", str(bundle)).exit_code == 0


def test_keys_that_were_made_are_in_the_audit_log(office: Path) -> None:
    hq(office, "keys")
    hq(office, "keys", "--rotate")

    entries = json.loads(hq(office, "audit", "--json").stdout)["entries"]
    assert [entry["action"] for entry in entries] == ["make-key", "make-key"]


def test_damaged_key_file_is_named_and_not_replaced(office: Path) -> None:
    hq(office, "keys")
    file = office / "hq.private-key.pem"
    file.write_text("gone")

    result = hq(office, "keys", "--rotate")

    assert result.exit_code == 2
    assert "not a file that `loyalty-hq keys` has made" in result.stderr
    assert file.read_text() == "gone"


def test_import_says_what_was_taken_and_what_is_here(office: Path) -> None:
    bundle = bundle_for(office)

    first, second = hq(office, "import", str(bundle)), hq(office, "import", str(bundle))

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stdout.splitlines() == [
        "0042/till-1, exported 2026-03-04 05:06 UTC: 5 captures.",
        "Taken: 5. Already here: 0.",
        f"Epoch {TILL.epoch}: all up to 5 is here.",
    ]
    assert "Taken: 0. Already here: 5." in second.stdout


def test_report_as_json(office: Path) -> None:
    report = json.loads(hq(office, "import", str(bundle_for(office)), "--json").stdout)

    epoch = {"epoch": TILL.epoch, "acceptedThrough": 5}
    counts = {"taken": 5, "alreadyHere": 0, "rejected": {}, "refused": {}}
    assert report.pop("keyId")
    assert report == {
        "storeId": "0042",
        "tillId": "till-1",
        "writtenAt": "2026-03-04T05:06:07.000Z",
        "isProven": True,
        "events": 5,
        **counts,
        "epochs": [epoch | counts],
    }


@pytest.mark.parametrize("position", [-1, -200, 100, 30])
def test_nothing_is_taken_of_a_damaged_bundle(office: Path, position: int) -> None:
    bundle = bundle_for(office, events=400)
    content = bytearray(bundle.read_bytes())
    content[position] ^= 1
    bundle.write_bytes(content)

    result = hq(office, "import", str(bundle))

    assert result.exit_code == 1
    assert "it is damaged, cut short, or was changed" in result.stderr
    assert "nothing was taken" in result.stderr
    assert stored(office) == 0


def test_damaged_bundle_without_a_proof_is_refused_before_it_is_read(office: Path) -> None:
    """Anybody can seal a file: how far its content goes must not matter."""
    bundle = bundle_for(office, events=400)
    bundle.write_bytes(bundle.read_bytes()[:-1])
    hq(office, "revoke", "0042", "till-1")

    result = hq(office, "import", str(bundle))

    assert result.exit_code == 1
    assert "0042/till-1 is not enrolled here, or was revoked; nothing was taken" in result.stderr


PULLED_OUT = BundleError("it cannot be read to its end (Input/output error)")


@pytest.mark.parametrize(
    ("error", "first_words"),
    [
        (PULLED_OUT, "stick.bundle: it cannot be read to"),
        (OSError("full"), "cannot use the database"),
    ],
)
def test_import_that_fails_on_its_way_says_what_is_here(
    office: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, first_words: str
) -> None:
    bundle = bundle_for(office)
    batches = BundleFile.batches

    def cut(opened: BundleFile) -> Iterator[bytes]:
        yield from batches(opened)
        # Does not continue the first, which is stored therefore.
        yield TILL.batch(*sessions(7, 7))
        raise error

    monkeypatch.setattr(BundleFile, "batches", cut)

    result = hq(office, "import", str(bundle))

    assert result.exit_code == 1
    assert first_words in result.stderr
    assert (
        "it stopped, at least 5 captures of it are here: import it again for the others"
        in result.stderr
    )
    assert "nothing was taken" not in result.stderr
    assert stored(office) == 5


def test_interrupted_import_does_not_say_that_nothing_was_taken(
    office: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction under way is committed, although its result is not waited for."""
    bundle = bundle_for(office)

    async def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sync.receiver.ingest.ledger.Ledger.store_batch", interrupted)

    result = hq(office, "import", str(bundle))

    assert result.exit_code == 130
    assert "stick.bundle: it stopped: import it again" in result.stderr
    assert "nothing was taken" not in result.stderr


def test_bundle_for_another_head_office_is_refused(office: Path) -> None:
    bundle = bundle_for(office)
    (office / "hq.private-key.pem").unlink()
    hq(office, "keys", "--rotate")

    result = hq(office, "import", str(bundle))

    assert result.exit_code == 1
    assert "which head office does not have: it is another head office's" in result.stderr
    assert stored(office) == 0


def test_bundle_of_a_till_that_is_not_enrolled_is_refused(office: Path) -> None:
    result = hq(office, "import", str(bundle_for(office, enrolled=False)), "--unproven")

    assert result.exit_code == 1
    assert "0042/till-1 is not enrolled here, or was revoked; nothing was taken" in result.stderr


@pytest.mark.parametrize("name", ["missing.bundle", "."])
def test_what_is_no_file_is_wrong_usage(office: Path, name: str) -> None:
    bundle_for(office)

    result = hq(office, "import", str(office / name))

    assert result.exit_code == 2
    assert "cannot read" in result.stderr


def test_pipe_that_nobody_writes_to_is_wrong_usage(office: Path) -> None:
    bundle_for(office)
    os.mkfifo(office / "pipe")

    result = hq(office, "import", str(office / "pipe"))

    assert result.exit_code == 2
    assert "it is no regular file" in result.stderr


def test_import_without_any_key_names_the_command_that_makes_it(office: Path) -> None:
    hq(office, "enroll", "0042", "till-1")
    file = office.parent / "stick.bundle"
    file.write_bytes(sealed(TILL, [], key=X25519PrivateKey.generate()))

    result = hq(office, "import", str(file))

    assert result.exit_code == 1
    assert "see `loyalty-hq keys`" in result.stderr
