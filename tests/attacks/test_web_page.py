"""Markup in everything that a request can hold: no answer carries it as markup."""

from urllib.parse import quote

import pytest

from tests.attacks.conftest import Target

SCRIPT = "<script>alert(1)</script>"
BREAKING_OUT = "\"'><img src=x onerror=alert(1)>"
ENCODED = quote(SCRIPT + BREAKING_OUT, safe="")
PATHS = (
    f"/{ENCODED}",
    f"/?search={ENCODED}&lang={ENCODED}&sort={ENCODED}&state={ENCODED}&page={ENCODED}",
    f"/stores/{ENCODED}",
    f"/sessions?id={ENCODED}",
    f"/sign-in?next={ENCODED}",
    f"/history?store={ENCODED}",
    f"/history.json?store={ENCODED}",
    f"/v1/stores/{ENCODED}",
    f"/static/{ENCODED}",
    f"/agent/v1/sessions/{ENCODED}",
    f"/agent/v1/dead-letters/{ENCODED}/1",
    f"/client/users/{ENCODED}/profile/email",
    "/" + SCRIPT,
)


@pytest.mark.parametrize("path", PATHS)
async def test_markup_of_a_request_is_not_markup_of_its_answer(target: Target, path: str) -> None:
    headers = [f"{name}: {SCRIPT}" for name in ("Referer", "User-Agent", "Accept-Language", "X")]

    response = await target.send(target.request("GET", path, b"", *headers))

    assert SCRIPT.encode() not in response.body
    assert b"<img src=x" not in response.body
    assert response.header("X-Content-Type-Options") == "nosniff"
    is_page = (response.header("Content-Type") or "").startswith("text/html")
    policy = response.header("Content-Security-Policy") or ""
    assert not is_page or policy.startswith("default-src 'none';")


@pytest.mark.parametrize("name", ["Set-Cookie", "Location", "X"])
async def test_line_break_in_a_request_adds_no_header(target: Target, name: str) -> None:
    broken = quote(f"x\r\n{name}: injected", safe="")
    paths = (f"/{broken}", f"/?lang={broken}", f"/sign-in?next={broken}", f"/stores/{broken}")

    for path in paths:
        response = await target.get(path)
        assert "injected" not in " ".join(value for _, value in response.headers)


async def test_cross_origin_reader_gets_no_permission(target: Target) -> None:
    request = target.request("GET", "/healthz", b"", "Origin: https://evil.test")

    response = await target.send(request)

    allowed = [name for name, _ in response.headers if name.lower().startswith("access-control")]
    assert allowed == []
