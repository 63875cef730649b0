"""The encryption key is rotated, lost and put back, on real processes."""

from pathlib import Path

import pytest

from tests.support.shop.machines import Machine, Office, joined
from tests.support.shop.verdict import judge
from tests.support.sqlite import rows_in

pytestmark = pytest.mark.process

KEY = "encryption.key"
REJECTIONS = "SELECT error_code, count(*) FROM rejections GROUP BY error_code"


async def rotate(machine: Machine) -> None:
    ended = await machine.command("rotate-key")
    assert ended.returncode == 0, ended.stderr
    await machine.process.wait_for_log("store.key_changed")


async def test_key_is_rotated_while_the_agent_runs_and_every_address_arrives(
    tmp_path: Path,
) -> None:
    office = Office(tmp_path / "hq")
    machine = await joined(office, tmp_path / "state")
    async with machine.running():
        await machine.trade(3)
        before = (machine.directory / KEY).read_bytes()
        await rotate(machine)
        await machine.trade(3)
        machine.process.kill()
    async with office.serving(), machine.running():
        await machine.trade(3)
        records = await office.until_there(18)

    verdict = judge(machine.ledger, records)
    assert verdict.is_clean, verdict
    assert (machine.directory / KEY).read_bytes() != before


async def test_lost_key_loses_only_what_it_sealed_and_gives_that_back_with_the_key(
    tmp_path: Path,
) -> None:
    office = Office(tmp_path / "hq")
    machine = await joined(office, tmp_path / "state")
    async with machine.running():
        await machine.trade(3)
    key = machine.directory / KEY
    kept = key.read_bytes()
    key.unlink()

    async with office.serving():
        async with machine.running():
            await machine.trade(2)
            await office.until_there(3 + 4)
            status = await machine.until(lambda one: one["waiting"] == 0)
            doctor = await machine.command("doctor")
        rejected = rows_in(office.file, REJECTIONS)
        listed = await office.command("completeness")
        key.write_bytes(kept)
        async with machine.running():
            records = await office.until_there(10)

    assert status["deadLetters"] == 3
    assert "3 captures" in doctor.stdout
    assert "encrypted with a key that is lost" in doctor.stdout
    assert rejected == [("KEY_LOST", 3)]
    assert "3 rejected" in listed.stdout
    verdict = judge(machine.ledger, records)
    assert verdict.is_clean, verdict
