"""Contents of the bundle; planted addresses, tokens and keys never appear."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config import Settings
from agent.config.central import AuthSettings, CentralSettings
from agent.facts import SessionStarted
from agent.store.db.migrate import NEWEST_REVISION
from agent.support_bundle.bundle import bundle_files, write_bundle
from sync.delivery.outcomes import Refused
from sync.runtime.checks.check import Check, fault
from sync.runtime.checks.units import Run
from tests.agent.support_bundle.planting import ADDRESSES, TOKENS, Planted
from tests.agent.support_bundle.unpacking import layers_of, members_of
from tests.support.agent.in_process import settings_in
from tests.support.agent.outbox import outbox_on
from tests.support.agent.store import answer, change, session

pytestmark = pytest.mark.process


NOW = datetime(2026, 6, 1, tzinfo=UTC)
FULL = fault("disk", "full", "free some space")
HEALTHY = {"version": "0.1.0", "waiting": 3}


def no_journal(_: Sequence[str]) -> str | None:
    return None


def files_of(
    configured: Settings,
    status: Mapping[str, object] | str = HEALTHY,
    *,
    check: Check = FULL,
    run: Run = no_journal,
) -> dict[str, bytes]:
    return bundle_files(configured, [check], status, NOW, run)


def read(members: Mapping[str, bytes], name: str) -> object:
    return json.loads(members[name])


def value_in(members: Mapping[str, bytes], name: str, *path: str) -> object:
    value = read(members, name)
    for part in path:
        assert isinstance(value, dict)
        value = value[part]
    return value


async def store_with_a_refusal(directory: Path, verdict: Refused, address: str) -> None:
    """Store a session start and an e-mail answer; the answer becomes a dead letter."""
    async with outbox_on(directory) as rig:
        await rig.capture(session("one"), answer("one", address))
        started, answered = (await rig.window()).events
        await rig.deliver(started)
        await rig.refuse(answered, verdict=verdict)


def test_database_statistics_are_included(tmp_path: Path) -> None:
    refused = Refused("EMAIL_IN_USE", "somebody has it", 400)
    asyncio.run(store_with_a_refusal(tmp_path, refused, "guest@example.com"))

    members = files_of(settings_in(tmp_path))

    assert value_in(members, "database.json", "schemaRevision") == NEWEST_REVISION
    assert value_in(members, "database.json", "epochs") == [{"epoch": "epoch-1", "lastSequence": 2}]
    assert value_in(members, "database.json", "rows", "event") == 2
    letters = value_in(members, "database.json", "deadLetters")
    assert isinstance(letters, list)
    (letter,) = letters
    assert (letter["number"], letter["type"], letter["errorCode"], letter["httpStatus"]) == (
        "epoch-1/2",
        "email.answered",
        "EMAIL_IN_USE",
        400,
    )


def test_error_text_of_central_is_left_out(tmp_path: Path) -> None:
    refused = Refused("of Marie Roy", "Marie Roy is known already", 400)
    asyncio.run(store_with_a_refusal(tmp_path, refused, "guest@example.com"))

    members = files_of(settings_in(tmp_path))

    assert b"Marie" not in b"".join(members.values())
    assert b'"errorCode": "(not shown)"' in members["database.json"]


def test_bundle_is_made_without_a_database(tmp_path: Path) -> None:
    members = files_of(settings_in(tmp_path / "absent"))

    assert value_in(members, "database.json", "rows", "notKnown") == "OperationalError"
    assert value_in(members, "files.json", "notKnown") == "No such file or directory"
    assert not (tmp_path / "absent").exists()


def test_status_holds_only_known_members(tmp_path: Path) -> None:
    status = {"version": "0.1.0", "waiting": 3, "later": "x", "storage": {"state": "ready", "y": 1}}

    members = files_of(settings_in(tmp_path), status)

    assert value_in(members, "status.json", "waiting") == 3
    assert value_in(members, "status.json", "storage", "state") == "ready"
    assert b"later" not in members["status.json"]
    assert b'"y"' not in members["status.json"]


def test_unreachable_agent_is_noted_in_status(tmp_path: Path) -> None:
    members = files_of(settings_in(tmp_path), "connection refused")

    assert read(members, "status.json") == {"unreached": "connection refused"}


def test_agent_files_are_named_and_other_files_counted(tmp_path: Path) -> None:
    for name in ("agent.db", "agent.mark", "encryption.key", "Marie Roy.txt"):
        (tmp_path / name).write_bytes(b"12345")
    (tmp_path / "set-aside" / "20260101T000000Z").mkdir(parents=True)
    (tmp_path / "set-aside" / "Marie Roy").mkdir()

    members = files_of(settings_in(tmp_path))

    files = value_in(members, "files.json", "files")
    assert isinstance(files, list)
    assert [(file["name"], file["bytes"]) for file in files] == [
        ("agent.db", 5),
        ("agent.mark", 5),
        ("encryption.key", 5),
    ]
    assert value_in(members, "files.json", "others") == 1
    assert value_in(members, "files.json", "setAside") == ["20260101T000000Z"]
    assert b"Marie" not in members["files.json"]


def test_customer_messages_are_left_out_of_settings(tmp_path: Path) -> None:
    members = files_of(settings_in(tmp_path))

    assert b"storage.directory" in members["settings.json"]
    assert b"program.messages" not in members["settings.json"]


def test_journal_starts_with_a_complete_line(tmp_path: Path) -> None:
    line = f"{'x' * 60} guest@example.com\n"

    members = files_of(settings_in(tmp_path), run=lambda _: line * 30_000)

    assert b"example" not in members["journal.txt"]
    assert set(members["journal.txt"].splitlines()) == {b"x" * 60 + b" [address]"}


@dataclass(frozen=True, slots=True)
class Plant:
    """Addresses and a token to plant in every input."""

    addresses: list[Planted]
    token: str

    @property
    def text(self) -> str:
        """All addresses and the token in one string."""
        return " ".join([*(planted.whole for planted in self.addresses), self.token])

    def is_in(self, content: bytes) -> bool:
        """Return whether `content` contains any part of them."""
        text = content.decode("utf-8", "replace")
        return self.token in text or any(planted.is_in(text) for planted in self.addresses)


PLANTS = st.builds(Plant, st.lists(ADDRESSES, min_size=1, max_size=3), TOKENS)


async def plant_in_the_store(directory: Path, plant: Plant) -> None:
    """Plant in request bodies, unknown fields, the address, and central's error texts."""
    body = json.dumps({"correlationId": "one", "note": plant.text}).encode()
    started = SessionStarted("one", None, closed=False, body=body)
    async with outbox_on(directory) as rig:
        await rig.capture(started, answer("one", plant.addresses[0].whole))
        for event in (await rig.window()).events:
            await rig.refuse(event, verdict=Refused(plant.text, plant.text, 400))
    change(directory, "CREATE TABLE other (x TEXT)")


def plant_in_the_settings(place: Path, plant: Plant) -> Settings:
    """Plant in file names, file contents, and settings not meant for secrets."""
    folder = place / f"of {plant.text}".replace("/", "_")
    folder.mkdir()
    for name in ("token", "secret", "key"):
        (folder / name).write_text(f"{plant.token}\n")
    auth = {
        "kind": "oauth2",
        "token_url": f"https://hq.example/{plant.token}",
        "client_id": plant.text,
        "client_secret_file": folder / "secret",
        "token_file": folder / "token",
        "header_name": "X-Api-Key",
        "scope": plant.text,
    }
    central = CentralSettings(
        url=f"https://hq.example/{plant.token}",
        ca_file=folder / "key",
        auth=AuthSettings.model_validate(auth),
    )
    return settings_in(place / "state", central=central)


@given(PLANTS)
@settings(max_examples=12, deadline=None)
def test_planted_secrets_never_appear_in_the_bundle(plant: Plant) -> None:
    with TemporaryDirectory() as scratch:
        place = Path(scratch)
        configured = plant_in_the_settings(place, plant)
        asyncio.run(plant_in_the_store(configured.storage.directory, plant))
        (configured.storage.directory / "of guest@example.com.txt").write_text(plant.text)
        status = {
            "version": plant.text,
            plant.text: 1,
            "sync": {"detail": plant.text, "trouble": f"Bearer {plant.token}"},
            "storage": {"setAside": [plant.text], "reason": plant.text},
        }
        check = fault("port", plant.text, plant.text)
        journal = "\n".join(["store.opened", plant.text, json.dumps({"message": plant.text})])

        members = files_of(configured, status, check=check, run=lambda _: journal)
        write_bundle(place / "b.tar.gz", members, at_seconds=0)

        assert set(members_of(place / "b.tar.gz")) == set(members)
        layers = list(layers_of((place / "b.tar.gz").read_bytes()))
        assert len(layers) > 2 * len(members)
        assert [layer for layer in layers if plant.is_in(layer)] == []
        key = (configured.storage.directory / "encryption.key").read_bytes().strip()
        assert not any(key in layer for layer in layers)


@given(PLANTS)
@settings(max_examples=5, deadline=None)
def test_planted_secrets_would_be_detected_in_the_bundle(plant: Plant) -> None:
    with TemporaryDirectory() as scratch:
        bundle = Path(scratch) / "b.tar.gz"
        write_bundle(bundle, {"one.txt": plant.text.encode()}, at_seconds=0)

        assert any(plant.is_in(layer) for layer in layers_of(bundle.read_bytes()))
