"""`loyalty-hq enroll --url`: join codes for one machine or a list; `revoke` lists and ends them."""

import json
import os
import ssl
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner

from sync.protocol.join_code import JoinCode, authority_mark, parse_join_code
from sync.receiver.cli import app
from sync.receiver.cli.join_codes import issue
from sync.receiver.cli.join_codes.code_file import HEADER
from tests.agent.cli.test_status import canned_server
from tests.support.certificates import Certificate, make_certificate
from tests.support.head_office.process import write_config
from tests.support.processes import free_port
from tests.support.sqlite import rows_in

URL = "https://hq.example.com"
CODES = "SELECT store_id, till_id FROM join_codes ORDER BY store_id, till_id"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path / "state")


@pytest.fixture(autouse=True)
def without_network(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Try no URL, except in the tests of that."""
    if "tries" not in request.node.name:
        monkeypatch.setattr(issue, "find_url_problem", lambda *_: "")


UNAUTHORIZED = b'{"statusCode":401,"errorMessage":"No token","errorCode":"UNAUTHORIZED"}'


@pytest.mark.parametrize(
    ("code", "body", "problem"),
    [
        (401, UNAUTHORIZED, ""),
        (401, b"<html>Sign in</html>", "not head office (HTTP 401)"),
        (404, b'{"statusCode":404}', "not head office (HTTP 404)"),
        (200, b"Welcome to our portal", "not head office (HTTP 200)"),
    ],
)
def test_enroll_tries_the_url_and_warns_of_another_program(
    config: Path, code: int, body: bytes, problem: str
) -> None:
    with canned_server(body, code) as (port, asked):
        result = enroll(config, "0042", "till-1", "--url", f"http://127.0.0.1:{port}/hq")

    assert parse_join_code(result.stdout), "a warning alone"
    assert asked == ["/hq/sync/v1/program -"]
    assert ("warning: tried from here" in result.stderr) == bool(problem)
    assert problem in result.stderr


def test_enroll_tries_the_url_and_warns_if_nothing_listens(config: Path) -> None:
    result = enroll(config, "0042", "till-1", "--url", f"http://127.0.0.1:{free_port()}")

    assert parse_join_code(result.stdout)
    assert "cannot be joined: Connection refused" in result.stderr


def test_enroll_tries_the_url_with_the_authority_of_the_codes(config: Path, tmp_path: Path) -> None:
    served, other = (make_certificate(tmp_path / name) for name in ("served", "other"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(served.cert_file, served.key_file)
    with canned_server(UNAUTHORIZED, 401, tls) as (port, _):
        options = ("0042", "till-1", "--url", f"https://127.0.0.1:{port}", "--ca")
        trusted = enroll(config, *options, str(served.cert_file))
        strange = enroll(config, *options, str(other.cert_file))

    assert "warning" not in trusted.stderr
    assert "its certificate is not one that machines would trust" in strange.stderr


def with_tls(config: Path, certificate: Certificate) -> None:
    """Let head office serve with a certificate."""
    files = f'tls_cert_file = "{certificate.cert_file}"\ntls_key_file = "{certificate.key_file}"\n'
    config.write_text(config.read_text().replace("[server]\n", f"[server]\n{files}"))


def mark_of(certificate: Certificate) -> str:
    loaded = x509.load_pem_x509_certificate(certificate.cert_file.read_bytes())
    return authority_mark(loaded.public_bytes(Encoding.DER))


def run(config: Path, *arguments: str) -> CompletedProcess[str]:
    """Run a command in this process."""
    before = os.umask(0o022)
    try:
        done = CliRunner().invoke(app, ["--config", str(config), *arguments])
    finally:
        os.umask(before)
    return CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


def enroll(config: Path, *arguments: str) -> CompletedProcess[str]:
    return run(config, "enroll", *arguments)


def codes_in(file: Path) -> list[JoinCode]:
    return [parse_join_code(line.split(",")[2]) for line in file.read_text().splitlines()[1:]]


def test_code_stands_alone_on_standard_output(config: Path, tmp_path: Path) -> None:
    result = enroll(config, "0042", "till-1", "--url", f"{URL}/")

    code = parse_join_code(result.stdout)
    assert (code.store_id, code.till_id, code.url, code.authority) == ("0042", "till-1", URL, "")
    assert result.stdout == f"{code}\n"
    assert "loyalty-agent join" in result.stderr
    assert code.secret not in (tmp_path / "state/hq.db").read_bytes().decode("latin-1")
    assert rows_in(tmp_path / "state/hq.db", "SELECT * FROM tokens") == []


def test_code_names_the_authority_of_a_private_certificate(config: Path, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "tls")
    with_tls(config, certificate)

    code = parse_join_code(
        enroll(config, "0042", "till-1", "--url", "https://127.0.0.1:8580").stdout
    )

    assert code.authority == mark_of(certificate)
    stored = rows_in(tmp_path / "state/hq.db", "SELECT mark, certificate FROM authorities")
    assert stored == [(code.authority, certificate.cert_file.read_text())]


def test_authority_can_be_named_where_a_proxy_has_the_certificate(
    config: Path, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path / "tls")

    result = enroll(config, "0042", "till-1", "--url", URL, "--ca", str(certificate.cert_file))

    assert parse_join_code(result.stdout).authority == mark_of(certificate)


@pytest.mark.parametrize(
    ("url", "days", "reason"),
    [
        (URL, 1.0, "machines could not connect to hq.example.com"),
        ("https://127.0.0.1", -0.5, "certificate has expired"),
    ],
)
def test_certificate_that_no_machine_would_accept_is_found_before_codes_are_issued(
    config: Path, tmp_path: Path, url: str, days: float, reason: str
) -> None:
    with_tls(config, make_certificate(tmp_path / "tls", ends_in_days=days))

    result = enroll(config, "0042", "till-1", "--url", url)

    assert (result.returncode, result.stdout) == (2, "")
    assert reason in result.stderr
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["0042", "till-1", "--url", "http://hq.example.com"],
        ["0042", "till-1", "--url", "https://hq.example.com/?x=1"],
        ["0042", "till-1", "--url", "https://hq.example.com/a+b"],
        ["0042", "--url", URL],
        ["0042", "till-1", "--ca", "ca.pem"],
        ["0042", "till-1", "--url", URL, "--ca", "absent.pem"],
        ["0042", "till-1", "--url", URL, "--output", "codes.csv"],
    ],
)
def test_wrong_use_exits_with_2_and_creates_nothing(arguments: list[str], tmp_path: Path) -> None:
    environment = {"LOYALTY_HQ__STORAGE__DIRECTORY": str(tmp_path)}

    assert CliRunner().invoke(app, ["enroll", *arguments], env=environment).exit_code == 2
    assert not list(tmp_path.iterdir())


def test_list_of_machines_gets_a_code_each(config: Path, tmp_path: Path) -> None:
    tills, output = tmp_path / "tills.csv", tmp_path / "codes.csv"
    tills.write_text("till_id;store_id\r\ntill-1;0043\r\ntill-2;0043\r\n")

    result = enroll(config, "--csv", str(tills), "--url", URL, "--output", str(output))

    assert (result.returncode, result.stdout) == (0, "")
    codes = codes_in(output)
    assert [(code.store_id, code.till_id) for code in codes] == [
        ("0043", "till-1"),
        ("0043", "till-2"),
    ]
    assert len({code.secret for code in codes}) == 2
    assert output.stat().st_mode & 0o777 == 0o600
    assert not output.with_name("codes.csv.part").exists()


def test_every_wrong_line_of_a_list_is_named_and_no_code_is_issued(
    config: Path, tmp_path: Path
) -> None:
    tills = tmp_path / "tills.csv"
    tills.write_text("store_id,till_id\n0043,till-1\n0043,a b\n,till-2\n0043,till-1\n")

    result = enroll(config, "--csv", str(tills), "--url", URL, "--output", str(tmp_path / "out"))

    assert result.returncode == 2
    for line in ("line 3: till_id", "line 4: store_id", "line 5: duplicate of line 2"):
        assert line in result.stderr
    assert not (tmp_path / "state").exists()
    assert not list(tmp_path.glob("out*"))


def test_interrupted_run_is_continued(config: Path, tmp_path: Path) -> None:
    """A power cut tore the last line. Codes in whole lines may be printed already: they stay."""
    tills, output = tmp_path / "tills.csv", tmp_path / "codes.csv"
    tills.write_text("store_id,till_id\n0043,till-1\n0043,till-2\n0043,till-3\n")
    arguments = ("--csv", str(tills), "--url", URL, "--output", str(output))
    enroll(config, *arguments)
    first, *torn = output.read_text().splitlines(keepends=True)[1:]
    output.unlink()
    part = output.with_name("codes.csv.part")
    part.write_text(HEADER + first + torn[0][:40] + "\0" * 4096)
    digests = "SELECT till_id, secret_hash FROM join_codes"
    before = set(rows_in(tmp_path / "state/hq.db", digests))

    result = enroll(config, *arguments)

    after = set(rows_in(tmp_path / "state/hq.db", digests))
    assert "1 code of an earlier run" in result.stderr
    assert output.read_text().startswith(HEADER + first)
    assert len(codes_in(output)) == 3
    assert {till for till, _ in after - before} == {"till-2", "till-3"}


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("store_id,till_id\n", "was not written by this command"),
        (f"{HEADER}0043,till-1,LJ1:0043/till-1@hq+AAAAA,2099-01-01T00:00:00Z\n", "damaged line"),
    ],
)
def test_file_that_is_no_part_of_an_earlier_run_is_left_alone(
    config: Path, tmp_path: Path, part: str, reason: str
) -> None:
    tills, output = tmp_path / "tills.csv", tmp_path / "codes.csv"
    tills.write_text("store_id,till_id\n0043,till-1\n")
    output.with_name("codes.csv.part").write_text(part)

    result = enroll(config, "--csv", str(tills), "--url", URL, "--output", str(output))

    assert result.returncode == 2
    assert reason in result.stderr
    assert output.with_name("codes.csv.part").read_text() == part


def test_part_for_another_url_is_not_continued(config: Path, tmp_path: Path) -> None:
    tills, output = tmp_path / "tills.csv", tmp_path / "codes.csv"
    tills.write_text("store_id,till_id\n0043,till-1\n")
    arguments = ("--csv", str(tills), "--output", str(output), "--url")
    enroll(config, *arguments, URL)
    output.rename(output.with_name("codes.csv.part"))

    result = enroll(config, *arguments, f"{URL}/other")

    assert result.returncode == 2
    assert "holds codes for another URL" in result.stderr


def test_codes_are_listed_and_voided(config: Path, tmp_path: Path) -> None:
    enroll(config, "0042", "till-1", "--url", URL)

    listed = run(config, "revoke", "--list", "--json")
    voided = run(config, "revoke", "0042", "till-1", "--code")
    again = run(config, "revoke", "0042", "till-1")

    (entry,) = json.loads(listed.stdout)["codes"]
    assert (entry["storeId"], entry["tillId"], entry["state"]) == ("0042", "till-1", "open")
    assert (voided.returncode, voided.stdout) == (0, "Revoked 1 join code of 0042/till-1.\n")
    assert again.returncode == 1
    assert rows_in(tmp_path / "state/hq.db", CODES) == []
