"""`loyalty-hq doctor` on both databases, and its findings one by one."""

import asyncio
import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from sync.receiver.cli import app
from sync.receiver.doctor.checkup import check_certificate, check_directory
from sync.receiver.doctor.postgresql import Server, judge
from sync.receiver.doctor.schema import check_schema
from sync.receiver.doctor.sqlite import check_sqlite
from sync.runtime.checks.check import Verdict
from sync.runtime.checks.units import check_unit
from tests.support.certificates import make_certificate
from tests.support.head_office.postgresql import PostgresqlServer
from tests.support.head_office.process import hq, write_config
from tests.support.head_office.receiver import settings_in

NOW = datetime(2026, 3, 4, tzinfo=UTC)
FINE = Server(
    major=16, version="16.4", encoding="UTF8", fsync="on", full_page_writes="on", read_only="off",
    is_standby=False, now=NOW, role="hq", bytes=1, may_create=True, revision=None, tills=0,
)  # fmt: skip


def doctor(config: Path, *options: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Run the command in this process; return its exit code and the findings by name."""
    arguments = ["--config", str(config), "doctor", "--json", *options]
    result: Result = CliRunner().invoke(app, arguments)
    checks = json.loads(result.stdout)["checks"]
    return result.exit_code, {check["name"]: check for check in checks}


def verdicts(server: Server) -> dict[str, Verdict]:
    """Return the verdicts that are not `pass`."""
    checks = judge(server, "db.example/hq", NOW)
    return {check.name: check.verdict for check in checks if check.verdict is not Verdict.PASS}


@pytest.mark.process
def test_doctor_of_a_new_sqlite_head_office_passes_and_makes_nothing(tmp_path: Path) -> None:
    config = write_config(tmp_path / "state")

    code, found = doctor(config)

    assert code == 0
    assert {check["verdict"] for check in found.values()} == {"pass"}
    assert "made at the first start" in found["database"]["found"]
    assert not (tmp_path / "state").exists()


@pytest.mark.process
def test_doctor_examines_an_enrolled_sqlite_head_office_and_leaves_no_file(tmp_path: Path) -> None:
    config = write_config(tmp_path / "state")
    hq("--config", str(config), "enroll", "0042", "till-1")
    before = sorted(tmp_path.rglob("*"))

    code, found = doctor(config)

    assert code == 0
    assert found["integrity"]["found"] == "SQLite found no damage"
    assert found["tokens"]["found"] == "1 till may send"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.process
async def test_damaged_sqlite_file_is_a_fault(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    settings.database_path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)

    found = {check.name: check for check in check_sqlite(settings)}

    assert found["integrity"].verdict is Verdict.FAULT


@pytest.mark.process
def test_database_server_that_is_down_is_a_fault_with_its_reason(tmp_path: Path) -> None:
    url = "postgresql+asyncpg://hq@127.0.0.1:1/hq"

    code, found = doctor(write_config(tmp_path / "state", database=url))

    assert code == 1
    assert found["database"]["verdict"] == "fault"
    assert "127.0.0.1" in found["database"]["found"]
    assert "password" in found["database"]["advice"]


@pytest.mark.process
async def test_doctor_of_a_real_server_finds_its_version_rights_and_that_it_does_not_sync(
    tmp_path: Path, postgresql_server: PostgresqlServer
) -> None:
    """The server of the tests runs with fsync off, which is a fault at head office."""
    url = await postgresql_server.new_database()
    config = write_config(tmp_path / "state", database=url)

    code, found = await in_thread(config)

    assert code == 1
    faults = {name for name, check in found.items() if check["verdict"] == "fault"}
    assert faults == {"durability"}
    assert "PostgreSQL " in found["database"]["found"]
    assert found["rights"]["found"] == "the user postgres may read, write and migrate"
    assert "no tables yet" in found["schema"]["found"]
    assert await rows(url, "SELECT 1 FROM pg_tables WHERE tablename = 'agents'") == []


@pytest.mark.process
async def test_owner_of_the_database_has_the_rights_that_it_needs(
    tmp_path: Path, postgresql_server: PostgresqlServer
) -> None:
    """Every owner but a superuser was told that it may not write to the append-only audit log."""
    url = await postgresql_server.owner(await postgresql_server.new_database())
    config = write_config(tmp_path / "state", database=url)
    hq("--config", str(config), "enroll", "0042", "till-1")

    _, found = await in_thread(config)

    assert found["rights"]["verdict"] == "pass"


@pytest.mark.process
async def test_user_who_may_not_write_to_a_table_is_a_fault(
    tmp_path: Path, postgresql_server: PostgresqlServer
) -> None:
    url = await postgresql_server.new_database()
    hq("--config", str(write_config(tmp_path / "made", database=url)), "enroll", "0042", "till-1")
    reader = f"reader_{os.urandom(4).hex()}"
    grant = f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}"
    await rows(url, f"CREATE ROLE {reader} LOGIN; {grant}")
    config = write_config(tmp_path / "state", database=url.replace("postgres:@", f"{reader}@"))

    code, found = await in_thread(config)

    assert code == 1
    assert f"the user {reader} may not write to" in found["rights"]["found"]


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (FINE, {}),
        (replace(FINE, major=11), {"database": Verdict.WARNING}),
        (replace(FINE, encoding="SQL_ASCII"), {"encoding": Verdict.FAULT}),
        (replace(FINE, fsync="off"), {"durability": Verdict.FAULT}),
        (replace(FINE, is_standby=True), {"rights": Verdict.FAULT}),
        (replace(FINE, read_only="on"), {"rights": Verdict.FAULT}),
        (replace(FINE, may_create=False), {"rights": Verdict.FAULT}),
        (replace(FINE, not_writable=["agents"]), {"rights": Verdict.FAULT}),
        (replace(FINE, not_owned=["agents"]), {"rights": Verdict.WARNING}),
        (replace(FINE, now=NOW + timedelta(minutes=2)), {"database clock": Verdict.WARNING}),
        (replace(FINE, now=NOW - timedelta(days=2)), {"database clock": Verdict.FAULT}),
        (replace(FINE, revision="0001"), {"schema": Verdict.WARNING}),
    ],
)
def test_each_trouble_of_a_server_has_its_verdict(
    server: Server, expected: dict[str, Verdict]
) -> None:
    assert verdicts(server) == expected


def test_newer_schema_is_a_warning() -> None:
    assert check_schema("9999").verdict is Verdict.WARNING


@pytest.mark.parametrize(
    ("days", "verdict"), [(-1, Verdict.FAULT), (5, Verdict.WARNING), (100, Verdict.PASS)]
)
def test_certificate_is_judged_by_its_days_left(
    tmp_path: Path, days: int, verdict: Verdict
) -> None:
    made = make_certificate(tmp_path / "tls", starts_in_days=-2, ends_in_days=days)
    server = {"tls_cert_file": made.cert_file, "tls_key_file": made.key_file}

    check = check_certificate(settings_in(tmp_path, server=server), datetime.now(UTC))

    assert check.verdict is verdict


def test_database_that_others_may_read_is_a_warning(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    settings = settings_in(state)
    settings.database_path.touch(mode=0o644)
    settings.database_path.chmod(0o644)

    (check,) = check_directory(settings)

    assert check.verdict is Verdict.WARNING
    assert "hq.db" in check.found


@pytest.mark.parametrize(
    ("enabled", "active", "verdict"),
    [
        ("enabled", "active", Verdict.PASS),
        ("disabled", "active", Verdict.WARNING),
        ("enabled", "inactive", Verdict.WARNING),
        ("enabled", "failed", Verdict.FAULT),
        ("enabled", "activating", Verdict.WARNING),
        ("not-found", "inactive", Verdict.PASS),
    ],
)
def test_unit_is_judged_by_its_state(
    tmp_path: Path, enabled: str, active: str, verdict: Verdict
) -> None:
    states = {"is-enabled": enabled, "is-active": active}

    check = check_unit("loyalty-hq.service", lambda command: states.get(command[1]), tmp_path)

    assert check.verdict is verdict


def test_service_on_an_earlier_configuration_is_a_fault(tmp_path: Path) -> None:
    shown = "Uses the configuration of 2026-03-04T05:06:07Z. Wrong: hq.toml, line 6: server.prot"
    answers = {
        "is-enabled": "enabled",
        "is-active": "active",
        "show": f"ActiveState=active\nStatusText={shown}\n",
    }

    check = check_unit("loyalty-hq.service", lambda command: answers[command[1]], tmp_path)

    assert check.verdict is Verdict.FAULT
    assert shown in check.found
    assert "systemctl reload loyalty-hq" in check.advice


@pytest.mark.process
async def test_database_in_another_encoding_is_refused_by_every_command(
    tmp_path: Path, postgresql_server: PostgresqlServer
) -> None:
    """A name with a letter that the encoding lacks would otherwise fail its batch for ever."""
    url = await postgresql_server.new_database("LATIN1")
    config = write_config(tmp_path / "state", database=url)

    code, found = await in_thread(config)
    assert (code, found["encoding"]["verdict"]) == (1, "fault")
    for command in ("check-config", "serve"):
        ended = await asyncio.to_thread(hq, "--config", str(config), command)
        assert ended.returncode == 2
        shown = " ".join((ended.stdout + ended.stderr).split())
        assert "database.url: the database has the encoding LATIN1" in shown


async def in_thread(config: Path) -> tuple[int, dict[str, dict[str, str]]]:
    """Run the command beside the event loop of the test."""
    return await asyncio.to_thread(doctor, config)


async def rows(url: str, query: str) -> list[object]:
    """Run a query as the superuser."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        if query.startswith("SELECT"):
            return list(await connection.fetch(query))
        return [await connection.execute(query)]
    finally:
        await connection.close()
