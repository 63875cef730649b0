"""`loyalty-hq stores`: every till with its state, and the sums."""

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest

from sync.protocol.rfc3339 import to_rfc3339
from sync.receiver.config import DATABASE_FILE
from sync.receiver.ingest.epochs.shared_name import MIN_RETURNS
from sync.receiver.reports.conditions import STATES, Condition
from sync.runtime.cli.translation import read_texts
from tests.support.head_office.messages import SimulatedAgent, session
from tests.support.head_office.process import hq, hq_on_terminal, write_config
from tests.support.head_office.receiver import Receiver
from tests.support.processes import ROOT, messages
from tests.support.terminal import COLUMNS

LANGUAGES = ROOT / "sync" / "receiver" / "cli" / "languages"
pytestmark = pytest.mark.process


async def test_stores_lists_every_till_with_its_state(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    """The till that was heard is silent: the receiver's clock stands still, the command's not."""
    await receiver.enroll(SimulatedAgent(store_id="0043"))
    await receiver.send(till, session(1))
    await receiver.heartbeat(till, lastSequence=3, outstanding=2, deadLetters=1, agentVersion="9.9")

    config = str(write_config(receiver.directory))
    listed = await asyncio.to_thread(hq, "--config", config, "stores")

    assert (listed.returncode, messages(listed.stderr)) == (0, "")
    heading, *tills, stale, sums = listed.stdout.splitlines()
    assert heading.split() == ["STORE", "TILL", "STATE", "SEEN", "WAITING", "REJECTED", "VERSION"]
    assert [line.split() for line in tills] == [
        ["0042", "till-1", "silent", "2026-03-04", "05:06", "2*", "1", "9.9"],
        ["0043", "till-1", "not-installed", "never", "0", "0", "-"],
    ]
    assert stale.startswith("* as of the time in SEEN: the till is silent")
    assert sums == "2 tills in 2 stores: 1 not-installed, 1 silent."


async def test_output_fits_a_terminal(receiver: Receiver, till: SimulatedAgent) -> None:
    await receiver.send(till, session(1))
    await receiver.heartbeat(
        till, lastSequence=3, outstanding=1_234_567, deadLetters=12_345, agentVersion="10.11.12"
    )

    config = str(write_config(receiver.directory))
    shown = await asyncio.to_thread(hq_on_terminal, "--config", config, "stores")

    assert [len(line) for line in shown if len(line) > COLUMNS] == []


async def test_json_is_one_document_with_the_names_of_the_api(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.enroll(SimulatedAgent(store_id="0043"))
    await receiver.send(till, session(1))
    state = {"lastSequence": 3, "outstanding": 2, "deadLetters": 1, "freeBytes": 1024**3}
    await receiver.heartbeat(till, **state, agentVersion="9.9")

    config = str(write_config(receiver.directory))
    printed = await asyncio.to_thread(hq, "--config", config, "stores", "--json")

    document = json.loads(printed.stdout)
    first, second = document["stores"]
    of_api = json.loads((await receiver.get("/v1/stores")).body)["stores"][0]["epochs"][0]
    shared = ("outstanding", "deadLetters", "agentVersion", "lastSeenAt", "lastActivityAt")
    assert document["asOf"].endswith("Z")
    assert {name: first[name] for name in shared} == {name: of_api[name] for name in shared}
    assert (first["storeId"], first["tillId"], first["state"]) == ("0042", "till-1", "silent")
    assert first["conditions"] == ["silent", "refused", "other-version"]
    assert (second["storeId"], second["lastSeenAt"], second["oldestSeconds"]) == (
        "0043",
        None,
        None,
    )


async def test_shared_name_has_the_same_advice_in_the_table_and_as_json(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    await receiver.send(till, session(1))
    returned = to_rfc3339(datetime.now(UTC))
    with closing(sqlite3.connect(receiver.directory / DATABASE_FILE)) as database, database:
        database.execute(
            "UPDATE agents SET speaker_returns = ?, speaker_returned_at = ?",
            (MIN_RETURNS, returned),
        )

    config = str(write_config(receiver.directory))
    listed = await asyncio.to_thread(hq, "--config", config, "stores")
    printed = await asyncio.to_thread(hq, "--config", config, "stores", "--json")

    (shown,) = json.loads(printed.stdout)["stores"]
    assert "loyalty-hq enroll 0042 …" in shown["advice"]
    assert f"0042/till-1: {shown['advice']}" in " ".join(listed.stdout.split())


async def test_age_of_the_figures_of_a_till_that_was_heard_just_now_is_said(
    receiver: Receiver, till: SimulatedAgent
) -> None:
    """It has delivered since its heartbeat: the figure was taken for captures that are missing."""
    await receiver.send(till, session(1))
    await receiver.heartbeat(till, lastSequence=3, outstanding=2)
    heard = to_rfc3339(datetime.now(UTC))
    with closing(sqlite3.connect(receiver.directory / DATABASE_FILE)) as database, database:
        database.execute("UPDATE agents SET last_seen_at = ?", (heard,))

    config = str(write_config(receiver.directory))
    listed = await asyncio.to_thread(hq, "--config", config, "stores")

    assert "WAITING and REJECTED are as of a till's last heartbeat" in listed.stdout
    assert "as of the time in SEEN" not in listed.stdout


def test_each_state_has_a_french_name() -> None:
    names = read_texts(LANGUAGES / "fr.toml")

    states = {*STATES, Condition.DELIVERING}
    assert {one.value for one in states} - names.keys() == set()


async def test_tables_are_french_with_a_french_locale(
    receiver: Receiver, till: SimulatedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "fr_CA.UTF-8")
    await receiver.enroll(SimulatedAgent(store_id="0043"))
    await receiver.send(till, session(1))
    await receiver.heartbeat(till, lastSequence=3, outstanding=2, deadLetters=1)
    config = str(write_config(receiver.directory))

    listed = await asyncio.to_thread(hq_on_terminal, "--config", config, "stores")
    report = await asyncio.to_thread(hq_on_terminal, "--config", config, "completeness")

    heading = next(line for line in listed if "CAISSE" in line)
    assert heading.split()[:4] == ["MAGASIN", "CAISSE", "ÉTAT", "ENTENDUE"]
    shown = " ".join(" ".join(listed).split())
    assert "muette" in shown
    assert "2 caisses dans 2 magasins" in shown
    summary = " ".join(" ".join(report).split())
    assert "Incomplet" in summary
    assert "0 définitivement perdue(s)" in summary
    assert "attendue" in summary
