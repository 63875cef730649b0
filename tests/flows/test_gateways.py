"""A store behind gateways and proxies as they are: captures arrive, or status says why not."""

import asyncio
import logging
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.api.status.headlines import delivery as delivery_headline
from agent.api.status.words import Words
from agent.doctor.checkup import Instruments, run_checks
from agent.languages.catalogue import english
from tests.support.agent.in_process import settings_in
from tests.support.central import ScriptedCentral, faults
from tests.support.central.fault_server import Request
from tests.support.central.gateway import Gateway, unchanged, with_headers
from tests.support.central.proxy import PasswordProxy
from tests.support.central.scripted import TOKEN_PATH
from tests.support.log_fields import fields_of
from tests.support.shop.shop import shop_at

pytestmark = pytest.mark.slow

TOO_LARGE = with_headers(b"X-Debug: " + b"x" * 70_000)
PROTOCOLS = pytest.mark.parametrize("protocol", ["batch", "replay"])


async def found_by_doctor(directory: Path, central: dict[str, object]) -> dict[str, str]:
    """Return what `doctor` finds on the line, by check."""
    settings = settings_in(directory, central=central)
    tools = Instruments(lambda: datetime.now(UTC), time.perf_counter, lambda _: None)
    checks = await asyncio.to_thread(run_checks, settings, tools, lambda _: None)
    return {check.name: f"{check.found}: {check.advice}" for check in checks}


@PROTOCOLS
async def test_header_that_no_limit_allows_is_named_in_status_log_and_doctor(
    tmp_path: Path, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    named = "a response header of more than 64 KiB"
    async with (
        ScriptedCentral() as central,
        Gateway(central.url, TOO_LARGE) as gateway,
        shop_at(tmp_path / "shop", gateway.url, protocol) as shop,
    ):
        await shop.trade(2)
        status = await shop.until(state="retrying", trouble="unexpected response")
        headline = delivery_headline(status, Words(english())).text
        doctor = await found_by_doctor(
            tmp_path / "shop", {"url": gateway.url, "protocol": protocol}
        )
        gateway.change = unchanged
        await shop.delivered()
    assert named in headline
    assert any(named in str(fields["detail"]) for fields in fields_of(caplog, "delivery.retrying"))
    assert named in doctor["protocol"]
    assert len(central.ledger.records) == 4


@PROTOCOLS
async def test_token_revoked_with_a_403_is_replaced_without_an_alarm(
    tmp_path: Path, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    async with ScriptedCentral() as central:
        central.credentials = set()

        def denied(request: Request) -> faults.Fault | None:
            is_known = request.headers.get("Authorization") in (central.credentials or set())
            return None if is_known or request.path == TOKEN_PATH else faults.gateway(403)

        central.default_fault = denied
        auth = {
            "kind": "oauth2",
            "token_url": central.url + TOKEN_PATH,
            "client_id": "pos",
            "client_secret_file": tmp_path / "secret",
        }
        async with shop_at(
            tmp_path / "shop", central.url, protocol, central={"auth": auth}
        ) as shop:
            await shop.trade(1)
            await shop.delivered()
            central.credentials = set()
            await shop.trade(1)
            await shop.delivered()
    assert len(central.ledger.records) == 4
    assert fields_of(caplog, "delivery.holding") == []


@PROTOCOLS
async def test_proxy_that_rejects_the_password_is_named_until_the_file_is_right(
    tmp_path: Path, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    password = tmp_path / "password"
    password.write_text("wr0ng-s3cret\n")
    named = "the proxy rejects the user or the password: check proxy_user and proxy_password_file"
    async with ScriptedCentral() as central, PasswordProxy("pos:right") as proxy:
        through = {"proxy": proxy.url, "proxy_user": "pos", "proxy_password_file": password}
        async with shop_at(tmp_path / "shop", central.url, protocol, central=through) as shop:
            await shop.trade(2)
            status = await shop.until(state="holding", trouble="refused by the proxy")
            headline = delivery_headline(status, Words(english()))
            page = (await shop.agent.get("/")).body.decode()
            doctor = await found_by_doctor(
                tmp_path / "shop", {"url": central.url, "protocol": protocol, **through}
            )
            password.write_text("right\n")
            await shop.delivered()
    assert len(central.ledger.records) == 4
    assert headline.level == "alarm"
    assert f"Delivery to head office is held: refused by the proxy ({named})" in headline.text
    assert "refused by the proxy" in page
    assert any(fields["detail"] == named for fields in fields_of(caplog, "delivery.holding"))
    assert named in doctor["protocol"]
    assert "ask whoever runs the proxy" in doctor["protocol"]
    assert "s3cret" not in caplog.text + page + str(status) + str(doctor)


@pytest.mark.parametrize(("protocol", "status"), [("batch", 401), ("replay", 403)])
async def test_page_of_a_portal_does_not_blame_the_credentials(
    tmp_path: Path, protocol: str, status: int
) -> None:
    found = f"answered {status} with a web page, which head office does not"
    async with ScriptedCentral() as central:
        central.default_fault = lambda _: faults.html(status)
        async with shop_at(tmp_path / "shop", central.url, protocol) as shop:
            await shop.trade(1)
            report = await shop.until(state="holding")
            doctor = await found_by_doctor(
                tmp_path / "shop", {"url": central.url, "protocol": protocol}
            )
            central.default_fault = lambda _: None
            await shop.delivered()
    headline = delivery_headline(report, Words(english()))
    held = f"Delivery to head office is held: refused by a portal or gateway ({found})"
    assert (headline.level, headline.text.partition(". Pending")[0]) == ("alarm", held)
    assert "not verified" in doctor["credentials"]
    assert found in doctor["protocol"]
    assert "a portal, proxy or gateway in between responds" in doctor["protocol"]
