"""Rotation of the encryption key: no key that has encrypted anything is lost, and none stays."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.store.crypto.old_keys import (
    destroy_old_keys,
    keep_as_old,
    read_old_keys,
    read_with_old_keys,
    rotate,
)
from agent.store.crypto.vault import KEY_BYTES, UnusableKey, Vault, open_vault, read_vault
from agent.store.db.connect import DATABASE_FILE
from agent.store.files.quarantine import QUARANTINE
from agent.store.retention.retention import RetentionDays
from agent.store.store import Store
from tests.support.agent.outbox import OutboxRig, outbox_on, receipt_of
from tests.support.agent.store import (
    ADDRESS,
    KEY_FILE,
    answer,
    opened,
    opener,
    record,
    session,
)
from tests.support.clocks import WallClock

DAY_SECONDS = 24 * 3600
NOTHING_KEPT = RetentionDays(delivered_days=0, email_days=0)


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Run `work` in a process that kills itself at its n-th change of a file; return if it did."""
    child = os.fork()
    if child == 0:
        count = 0

        def counting(call: Callable[..., object]) -> Callable[..., object]:
            def counted(*arguments: object, **named: object) -> object:
                nonlocal count
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **named)

            return counted

        for name in ("open", "write", "fsync", "fchmod", "rename", "replace", "unlink"):
            setattr(os, name, counting(getattr(os, name)))
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_kill_at_any_step_of_a_rotation_loses_no_key(tmp_path: Path) -> None:
    key_file, number, is_killed = tmp_path / KEY_FILE, 0, True
    sealed = [open_vault(key_file).encrypt(ADDRESS, "one")]

    while is_killed:
        number += 1
        is_killed = killed_at(number, lambda: rotate(key_file, tmp_path))
        vault = read_with_old_keys(key_file, tmp_path)
        sealed.append(vault.encrypt(ADDRESS, "one"))
        assert {vault.decrypt(one, "one") for one in sealed} == {ADDRESS}

    assert number > 6
    assert len({one[:5] for one in sealed}) > 1


def test_kill_at_any_step_of_a_destruction_leaves_a_key_or_none(tmp_path: Path) -> None:
    key_file, number, is_killed = tmp_path / KEY_FILE, 0, True
    open_vault(key_file)
    needed = read_vault(key_file).header

    while is_killed:
        number += 1
        keep_as_old(Vault(bytes([number]) * KEY_BYTES), tmp_path)
        keep_as_old(read_vault(key_file), tmp_path)
        is_killed = killed_at(number, lambda: destroy_old_keys(tmp_path, {needed}))
        read_with_old_keys(key_file, tmp_path)

    assert number > 3
    assert [one.header for one in read_old_keys(tmp_path)] == [needed]
    assert len(list(tmp_path.iterdir())) == 2


def test_destruction_removes_the_copies_of_keys_that_a_kill_left_unfinished(tmp_path: Path) -> None:
    key_file = tmp_path / KEY_FILE
    open_vault(key_file)
    number = 1
    while killed_at(number, lambda: rotate(key_file, tmp_path)):
        number += 1
    assert list(tmp_path.glob(".encryption.key.*"))

    destroy_old_keys(tmp_path, set())

    assert [one.name for one in tmp_path.iterdir()] == [KEY_FILE]


def test_destroyed_key_is_overwritten_before_it_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_as_old(Vault(bytes(KEY_BYTES)), tmp_path)
    contents: list[bytes] = []
    unlink = Path.unlink

    def look(file: Path, *, missing_ok: bool = False) -> None:
        contents.append(file.read_bytes())
        unlink(file, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", look)

    destroy_old_keys(tmp_path, set())

    assert [set(one) for one in contents] == [{0}]
    assert list(tmp_path.iterdir()) == []


def test_rotation_of_an_unusable_key_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_text("no key")

    with pytest.raises(UnusableKey):
        rotate(tmp_path / KEY_FILE, tmp_path)

    assert [one.name for one in tmp_path.iterdir()] == [KEY_FILE]


def renew_key(store: Store) -> bool:
    """Let the store use the key in the key file, as the maintenance of the agent does."""
    return opener(store.directory).renew_key(store)


def test_open_store_uses_the_new_key_and_recognises_answers_of_the_old_one(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        first = record(store, session("one"), answer("one"))
        old = store.vault.header
        rotate(tmp_path / KEY_FILE, tmp_path)
        assert renew_key(store)

        again = record(store, session("one"), answer("one"))
        other = record(store, answer("one", "other@example.com"))

        assert store.vault.header != old
    receipts = [*map(receipt_of, first)]
    assert [*map(receipt_of, again)] == receipts
    assert receipt_of(other[0]) not in receipts


def test_restarted_store_recognises_answers_of_the_old_key(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        first = record(store, session("one"), answer("one"))
    rotate(tmp_path / KEY_FILE, tmp_path)

    with opened(tmp_path) as store:
        again = record(store, answer("one"))

    assert receipt_of(again[0]) == receipt_of(first[1])


def test_key_file_replaced_by_hand_beside_a_running_agent_loses_nothing(tmp_path: Path) -> None:
    """The key in memory is kept before another one is used."""
    with opened(tmp_path) as store:
        record(store, session("one"), answer("one"))
        (tmp_path / KEY_FILE).unlink()
        open_vault(tmp_path / KEY_FILE)
        assert renew_key(store)

    assert len(read_old_keys(tmp_path)) == 1


def test_unusable_key_file_beside_a_running_agent_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path) as store:
        using = opener(tmp_path)
        (tmp_path / KEY_FILE).write_text("")

        assert [using.renew_key(store) for _ in range(3)] == [False] * 3

        record(store, session("one"), answer("one"))
    assert caplog.messages.count("store.key_unusable") == 1


async def test_key_spoilt_beside_a_running_agent_is_not_lost_at_its_restart(
    tmp_path: Path,
) -> None:
    """It is in memory: it was lost there, and a restart then stopped all captures."""
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one"))
        (tmp_path / KEY_FILE).write_text("")
        await rig.writer.run(renew_key)

    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("two"), answer("two"))
        assert await addresses_sent(rig) == 2


def test_spoilt_credential_is_not_written_to_the_disk(tmp_path: Path) -> None:
    state, credential = tmp_path / "state", tmp_path / "credential"
    opening = replace(opener(state), key_file=credential)
    store = opening.open()
    credential.write_text("")

    opening.renew_key(store)
    store.close()

    assert read_old_keys(state) == []


async def addresses_sent(rig: OutboxRig) -> int:
    events = (await rig.window()).events
    return sum(ADDRESS.encode() in event.body for event in events)


async def test_addresses_of_the_old_key_are_sent_after_a_rotation(tmp_path: Path) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one"))
        rotate(tmp_path / KEY_FILE, tmp_path)
        await rig.writer.run(renew_key)
        await rig.capture(session("two"), answer("two"))

        assert await addresses_sent(rig) == 2


async def test_old_key_is_destroyed_once_nothing_needs_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The digest needs it a day longer than the address."""
    caplog.set_level("INFO")
    clock = WallClock()
    async with outbox_on(tmp_path, clock=clock, retention=NOTHING_KEPT) as rig:
        retention = rig.outbox.retention
        await rig.capture(session("one"), answer("one"))
        rotate(tmp_path / KEY_FILE, tmp_path)
        await rig.writer.run(renew_key)
        await retention.destroy_old_keys()
        assert len(read_old_keys(tmp_path)) == 1  # its address waits

        await rig.deliver_all()
        await retention.erase_once()
        await retention.destroy_old_keys()
        assert len(read_old_keys(tmp_path)) == 1  # its digest recognises a repeat

        clock.pass_seconds(2 * DAY_SECONDS)
        while await retention.erase_digests_once():
            pass
        await retention.destroy_old_keys()

    assert read_old_keys(tmp_path) == []
    assert caplog.messages.count("store.old_key_destroyed") == 1


async def test_key_in_use_is_not_destroyed_between_rotation_and_its_first_use(
    tmp_path: Path,
) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))
        rotate(tmp_path / KEY_FILE, tmp_path)

        await rig.outbox.retention.destroy_old_keys()
        await rig.capture(answer("one"))
        await rig.writer.run(renew_key)

        assert await addresses_sent(rig) == 1


async def test_old_key_is_kept_if_a_database_is_quarantined_after_the_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Addresses in it may be encrypted with the key, and are salvaged."""

    def quarantined_after(*arguments: object) -> set[bytes]:
        place = tmp_path / QUARANTINE / "20261129T120000Z"
        place.mkdir(parents=True)
        (place / DATABASE_FILE).touch()
        return set()

    monkeypatch.setattr("agent.store.retention.retention.find_needed_keys", quarantined_after)
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))
        rotate(tmp_path / KEY_FILE, tmp_path)
        await rig.writer.run(renew_key)

        await rig.outbox.retention.destroy_old_keys()

    assert len(read_old_keys(tmp_path)) == 1


async def test_dead_letter_keeps_its_old_key(tmp_path: Path) -> None:
    clock = WallClock()
    async with outbox_on(tmp_path, clock=clock, retention=NOTHING_KEPT) as rig:
        await rig.capture(session("one"), answer("one"))
        rotate(tmp_path / KEY_FILE, tmp_path)
        await rig.writer.run(renew_key)
        await rig.refuse(*(await rig.window()).events)
        clock.pass_seconds(40 * DAY_SECONDS)

        await rig.outbox.retention.destroy_old_keys()

        assert len(read_old_keys(tmp_path)) == 1
