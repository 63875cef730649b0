"""Path traversal: no file of the machine is ever returned."""

import pytest

from tests.attacks.conftest import Target

LEADING_OUT = (
    "/../../../../../../../../etc/passwd",
    "/static/../../../../../../../../etc/passwd",
    "/static/..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/static/%252e%252e%252f%252e%252e%252fetc%252fpasswd",
    "/static/....//....//....//etc/passwd",
    "/static/..%5c..%5c..%5cetc%5cpasswd",
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/style.css%00.txt",
    "/static/%c0%ae%c0%ae/%c0%ae%c0%ae/etc/passwd",
    "/docs/../../../../../../etc/passwd",
    "/docs/..%2f..%2f..%2fetc%2fpasswd",
    "/stores/..%2f..%2f..%2fetc%2fpasswd",
    "/sessions/..%2f..%2f..%2fetc%2fpasswd",
    "/agent/v1/sessions/..%2f..%2f..%2fetc%2fpasswd",
    "//etc/passwd",
    "/%2fetc/passwd",
    "file:///etc/passwd",
)


@pytest.mark.parametrize("path", LEADING_OUT)
async def test_path_that_leads_out_is_refused(target: Target, path: str) -> None:
    response = await target.get(path)

    assert response.status in {400, 403, 404}
    assert b"root:" not in response.body


@pytest.mark.parametrize(
    "name", ["agent.db", "hq.db", "encryption.key", "agent.mark", "config.toml"]
)
@pytest.mark.parametrize("path", ["/{}", "/static/{}", "/docs/{}", "/static/..%2f{}"])
async def test_own_files_are_not_served(target: Target, path: str, name: str) -> None:
    response = await target.get(path.format(name))

    assert response.status == 404
