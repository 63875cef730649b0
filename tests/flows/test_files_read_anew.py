"""Certificates, keys and tokens change while both programs run; SIGHUP ends neither."""

import asyncio
import os
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import cast

import aiohttp
import pytest

from agent.doctor.configuration import check_certificates
from sync.receiver.db.open import password_of
from sync.runtime.checks.check import Verdict
from tests.support.agent import in_process
from tests.support.agent.process import AGENT, agent_process
from tests.support.certificates import Certificate, make_certificate
from tests.support.head_office import receiver
from tests.support.head_office.process import HQ
from tests.support.notify_socket import manager_in
from tests.support.patience import PATIENCE_SECONDS
from tests.support.processes import ROOT, clean_environment

OLD_TOKEN, NEW_TOKEN = "old-token-of-this-test", "new-token-of-this-test"
STATUS = "/agent/v1/status"


@asynccontextmanager
async def serving_agent(place: Path, pair: Certificate) -> AsyncIterator[int]:
    api = {"tls_cert_file": pair.cert_file, "tls_key_file": pair.key_file}
    async with in_process.agent_under_test(in_process.settings_in(place, api=api)) as agent:
        yield agent.address.port


@asynccontextmanager
async def serving_head_office(place: Path, pair: Certificate) -> AsyncIterator[int]:
    server = {"port": 0, "tls_cert_file": pair.cert_file, "tls_key_file": pair.key_file}
    settings = receiver.settings_in(place, server=server)
    async with receiver.receiver_under_test(settings) as office:
        yield office.address.port


async def presented_by(port: int) -> bytes:
    """Return the certificate that a new connection is presented, as DER."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
    return found


def der(pair: Certificate) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.cert_file.read_text())


def rejections(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the reasons for which changed files were not used."""
    records = [record for record in caplog.records if record.getMessage() == "files.rejected"]
    return [str(vars(record)["fields"]["reason"]) for record in records]


@pytest.mark.parametrize("serving", [serving_agent, serving_head_office])
async def test_renewed_certificate_is_presented_and_a_broken_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, serving: Callable[..., object]
) -> None:
    old, new = make_certificate(tmp_path / "old"), make_certificate(tmp_path / "new")
    first, second = der(old), der(new)
    async with serving(tmp_path / "state", old) as port:  # type: ignore[attr-defined]
        assert await presented_by(port) == first

        new.cert_file.replace(old.cert_file)
        # The key of the new certificate is not there yet.
        assert await presented_by(port) == first
        assert await presented_by(port) == first
        (reason,) = rejections(caplog)
        assert "not a pair" in reason
        assert str(old.cert_file) in reason

        new.key_file.replace(old.key_file)
        assert await presented_by(port) == second

        old.cert_file.unlink()
        assert await presented_by(port) == second
    assert len(rejections(caplog)) == 2


async def test_tokens_of_the_agent_are_read_anew_and_an_empty_file_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = {name: tmp_path / name for name in ("token_file", "admin_token_file")}
    for name, file in tokens.items():
        file.write_text(f"{OLD_TOKEN}-{name}\n")
    settings = in_process.settings_in(tmp_path / "state", api=tokens)
    async with in_process.agent_under_test(settings) as agent:

        async def statuses(path: str, method: str, name: str) -> list[int]:
            found = []
            for token in (OLD_TOKEN, NEW_TOKEN):
                headers = {"Authorization": f"Bearer {token}-{name}"}
                found.append((await agent.request(method, path, headers=headers)).status)
            return found

        retry = f"/agent/v1/dead-letters/{'0' * 8}-0000-4000-8000-{'0' * 12}/1/retry"
        assert await statuses(STATUS, "GET", "token_file") == [200, 401]
        assert await statuses(retry, "POST", "admin_token_file") == [404, 401]
        for name, file in tokens.items():
            file.write_text(f"{NEW_TOKEN}-{name}\n")
        assert await statuses(STATUS, "GET", "token_file") == [401, 200]
        assert await statuses(retry, "POST", "admin_token_file") == [401, 404]
        assert rejections(caplog) == []

        tokens["token_file"].write_text("")
        assert await statuses(STATUS, "GET", "token_file") == [401, 200]
        (reason,) = rejections(caplog)
    assert "api.token_file" in reason
    assert NEW_TOKEN not in caplog.text


async def test_readers_token_is_read_anew_and_ends_the_sessions_of_the_old_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "admin-token"
    file.write_text(f"{OLD_TOKEN}\n")
    settings = receiver.settings_in(tmp_path / "state", access={"admin_token_file": file})
    async with receiver.receiver_under_test(settings) as office:

        async def sign_in(token: str) -> str:
            origin = str(office.server.make_url("/").origin())
            form = f"token={token}".encode()
            found = await office.request("POST", "/sign-in", form, Origin=origin)
            return str(found.header("Set-Cookie") or "").partition(";")[0]

        async def status(**headers: str) -> int:
            return (await office.request("GET", "/v1/stores", **headers)).status

        cookie = await sign_in(OLD_TOKEN)
        assert cookie
        assert await status(Cookie=cookie) == 200
        assert await status(Authorization=f"Bearer {OLD_TOKEN}") == 200

        file.write_text(f"{NEW_TOKEN}\n")
        assert await status(Authorization=f"Bearer {NEW_TOKEN}") == 200
        assert await status(Cookie=cookie) == 401
        assert await status(Authorization=f"Bearer {OLD_TOKEN}") == 401
        assert await status(Cookie=await sign_in(NEW_TOKEN)) == 200

        file.write_text("short\n")
        assert await status(Cookie=await sign_in(NEW_TOKEN)) == 200
        (reason,) = rejections(caplog)
    assert "shorter than 20 characters" in reason


async def test_days_left_of_the_certificate_are_in_status_metrics_and_on_the_pages(
    tmp_path: Path,
) -> None:
    pair = make_certificate(tmp_path / "tls", ends_in_days=20.5)
    api = {"tls_cert_file": pair.cert_file, "tls_key_file": pair.key_file}
    settings = in_process.settings_in(tmp_path / "state", api=api)
    async with in_process.agent_under_test(settings) as agent:
        status = (await agent.get(STATUS)).members()
        metrics = (await agent.get("/metrics")).body.decode()
        page = (await agent.get("/")).body.decode()
        make_certificate(tmp_path / "tls", ends_in_days=90.5)
        renewed = (await agent.get(STATUS)).members()
        page_after = (await agent.get("/")).body.decode()

    (found,) = cast("list[dict[str, object]]", status["certificates"])
    assert (found["file"], found["daysLeft"]) == (str(pair.cert_file), 20)
    assert f'loyalty_agent_certificate_days{{file="{pair.cert_file}"}} 20.0' in metrics
    assert "expires at" in page
    assert cast("list[dict[str, object]]", renewed["certificates"])[0]["daysLeft"] == 90
    assert "expires at" not in page_after


async def test_days_left_of_the_certificate_of_head_office_are_in_metrics_and_on_the_fleet_page(
    tmp_path: Path,
) -> None:
    pair = make_certificate(tmp_path / "tls", ends_in_days=20.5)
    server = {"port": 0, "tls_cert_file": pair.cert_file, "tls_key_file": pair.key_file}
    settings = receiver.settings_in(tmp_path / "state", server=server)
    async with receiver.receiver_under_test(settings, partial(datetime.now, UTC)) as office:
        trust = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=pair.cert_file))
        headers = {"Authorization": f"Bearer {office.readers_token}"}
        url = f"https://127.0.0.1:{office.address.port}"
        async with aiohttp.ClientSession(connector=trust, headers=headers) as client:
            metrics = await (await client.get(f"{url}/metrics")).text()
            page = await (await client.get(f"{url}/")).text()

    assert "loyalty_hq_certificate_days 20.0" in metrics
    assert "certificate of head office expires: 20" in page


def test_doctor_of_the_agent_judges_the_certificates_that_it_presents(tmp_path: Path) -> None:
    now, verdicts = datetime.now(UTC), []
    for days in (90.5, 20.5, -0.5):
        pair = make_certificate(tmp_path / "tls", starts_in_days=-9, ends_in_days=days)
        api = {"tls_cert_file": pair.cert_file, "tls_key_file": pair.key_file}
        (check,) = check_certificates(in_process.settings_in(tmp_path, api=api), now)
        verdicts.append(check.verdict)
    assert verdicts == [Verdict.PASS, Verdict.WARNING, Verdict.FAULT]
    assert list(check_certificates(in_process.settings_in(tmp_path), now)) == []


def test_password_of_the_database_stays_in_use_while_its_new_file_is_broken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "password"
    url = "postgresql+asyncpg://hq@db.example/hq"
    database = {"url": url, "password_file": file}
    read = password_of(receiver.settings_in(tmp_path, database=database))
    assert read is not None

    file.write_text("one")
    assert read() == "one"
    file.write_text("two")
    assert read() == "two"
    file.write_text("")
    assert read() == "two"
    assert len(rejections(caplog)) == 1


@pytest.mark.process
@pytest.mark.parametrize(
    ("program", "section", "command", "name"),
    [(AGENT, "api", "run", "agent"), (HQ, "server", "serve", "hq")],
    ids=["loyalty-agent", "loyalty-hq"],
)
async def test_sighup_ends_no_program_that_is_starting_running_or_stopping(
    tmp_path: Path, program: tuple[str, ...], section: str, command: str, name: str
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f'[{section}]\nport = 0\n[storage]\ndirectory = "{tmp_path / "state"}"\n'
        '[log]\nformat = "json"\n'
    )
    with manager_in(tmp_path) as manager:
        process = await asyncio.create_subprocess_exec(
            *(*program, "--config", str(config), command),
            cwd=ROOT,
            env=clean_environment() | manager.environ,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        try:
            # The first line of the log; before it, the interpreter may not even have begun.
            lines = [await process.stderr.readline()]
            hangups = asyncio.create_task(hang_up_until_the_end(process))
            await manager.hears_at_last("READY=1")
            while f"{name}.reloaded".encode() not in lines[-1]:
                lines.append(await process.stderr.readline())
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await process.stderr.read()
                assert await process.wait() == 0
            await hangups
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def hang_up_until_the_end(process: asyncio.subprocess.Process) -> None:
    while process.returncode is None:
        # Not by the process object, which would wait for the end at the wrong place.
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGHUP)
        await asyncio.sleep(0.02)


@pytest.mark.process
async def test_sighup_reads_the_files_at_once(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{OLD_TOKEN}\n")
    settings = {"LOYALTY_AGENT__API__TOKEN_FILE": str(token)}
    async with agent_process(tmp_path / "state", settings=settings) as agent:
        await agent.ready()
        token.write_text("\n")
        process_id = agent.pid
        os.kill(process_id, signal.SIGHUP)
        line = await agent.wait_for_log("files.rejected")
        token.write_text(f"{NEW_TOKEN}\n")
        os.kill(process_id, signal.SIGHUP)
        reloaded = await agent.wait_for_log("files.reloaded")

    assert "api.token_file" in str(line["reason"])
    assert str(token) in str(reloaded["files"])
