"""`loyalty-agent status` against a real server with canned answers."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agent.cli import app
from tests.support.certificates import make_certificate

STATUS = {
    "version": "0.1.0",
    "storeId": "0042",
    "waiting": 3,
    "oldestWaitingAt": None,
    "storage": {"state": "ready", "directory": "/data", "setAside": []},
    "central": {"url": "", "protocol": "batch", "state": "off"},
}


@contextmanager
def canned_server(
    body: bytes, code: int = 200, tls: ssl.SSLContext | None = None
) -> Iterator[tuple[int, list[str]]]:
    """Serve one canned answer on loopback; yield the port and the list of received requests."""
    requests: list[str] = []

    class Canned(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(f"{self.path} {self.headers.get('Authorization', '-')}")
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - name of the base class

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - name of the base class
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Canned)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1], requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(*arguments: str, **variables: str) -> Result:
    return CliRunner().invoke(app, arguments, env=variables, prog_name="loyalty-agent")


def status_of(body: object, *arguments: str, code: int = 200) -> Result:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with canned_server(raw, code) as (port, _):
        return run("status", *arguments, LOYALTY_AGENT__API__PORT=str(port))


def test_status_is_printed_as_lines_in_a_pipe() -> None:
    result = status_of(STATUS)

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "version: 0.1.0",
        "storeId: 0042",
        "waiting: 3",
        "oldestWaitingAt: -",
        "storage.state: ready",
        "storage.directory: /data",
        "storage.setAside: none",
        "central.url: ",
        "central.protocol: batch",
        "central.state: off",
    ]


def test_status_json_prints_the_answer_unchanged() -> None:
    result = status_of(b'{"storage":  {"state":"ready"},"later":[1]}', "--json")

    assert (result.exit_code, result.stdout) == (
        0,
        '{"storage":  {"state":"ready"},"later":[1]}\n',
    )


@pytest.mark.parametrize("state", [{"storage": {"state": "full"}}, {}])
def test_status_exits_with_1_when_the_storage_is_not_ready(state: dict[str, object]) -> None:
    assert status_of(STATUS | {"storage": None} | state).exit_code == 1


@pytest.mark.parametrize(("state", "code"), [("holding", 1), ("retrying", 0), ("idle", 0)])
def test_status_exits_with_1_when_head_office_rejects_this_machine_but_0_when_offline(
    state: str, code: int
) -> None:
    assert status_of(STATUS | {"sync": {"state": state}}).exit_code == code


@pytest.mark.parametrize(
    ("code", "body", "reason"),
    [
        (401, b"{}", "check that api.token_file is the one it was started with"),
        (200, b"<html>", "unexpected response from"),
        (200, b"[1]", "unexpected response from"),
        (200, b"[" * 100_000, "unexpected response from"),
        (500, b"{}", "(HTTP 500)"),
    ],
)
def test_status_exits_with_1_on_an_invalid_answer(code: int, body: bytes, reason: str) -> None:
    result = status_of(body, code=code)

    assert result.exit_code == 1
    assert reason in result.stderr
    assert result.stdout == ""


def test_status_exits_with_1_and_a_hint_when_no_agent_is_running() -> None:
    with canned_server(b"") as (port, _):
        pass

    result = run("status", LOYALTY_AGENT__API__PORT=str(port))

    assert result.exit_code == 1
    assert f"cannot reach the agent on 127.0.0.1 port {port} (Connection refused)" in result.stderr
    assert "systemctl status loyalty-agent" in result.stderr


def test_status_with_port_0_exits_with_1() -> None:
    result = run("status", LOYALTY_AGENT__API__PORT="0")

    assert result.exit_code == 1
    assert "api.port is 0" in result.stderr


def test_status_over_tls_trusts_the_configured_certificate_and_sends_the_token(
    tmp_path: Path,
) -> None:
    other_name = make_certificate(tmp_path / "tls", address="10.0.0.1")
    (tmp_path / "token").write_text("s3cret\n")

    with canned_server(json.dumps(STATUS).encode(), tls=other_name.served()) as (port, requests):
        result = run(
            "status",
            LOYALTY_AGENT__API__HOST="0.0.0.0",  # noqa: S104 - the case under test
            LOYALTY_AGENT__API__PORT=str(port),
            LOYALTY_AGENT__API__TOKEN_FILE=str(tmp_path / "token"),
            LOYALTY_AGENT__API__TLS_CERT_FILE=str(other_name.cert_file),
            LOYALTY_AGENT__API__TLS_KEY_FILE=str(other_name.key_file),
        )

    assert result.exit_code == 0, result.stderr
    assert requests == ["/agent/v1/status Bearer s3cret"]


def test_status_with_an_invalid_certificate_exits_with_2(tmp_path: Path) -> None:
    (tmp_path / "crt").write_text("not PEM")

    result = run(
        "status",
        LOYALTY_AGENT__API__TLS_CERT_FILE=str(tmp_path / "crt"),
        LOYALTY_AGENT__API__TLS_KEY_FILE=str(tmp_path / "key"),
    )

    assert result.exit_code == 2
    assert "api.tls_cert_file: the file cannot be read as a certificate" in result.stderr
