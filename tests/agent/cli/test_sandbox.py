"""`loyalty-agent sandbox` and `certify` as processes: port, scratch directory, verdict, samples."""

import asyncio
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.certify.situations import SITUATIONS
from agent.cli import sandbox
from agent.sandbox import running_sandbox
from sync.runtime.cli import discovery
from tests.support.agent.process import AGENT
from tests.support.patience import PATIENCE_SECONDS
from tests.support.processes import ROOT, clean_environment

pytestmark = [pytest.mark.process, pytest.mark.slow]
SAMPLES = ROOT / "docs" / "samples"
BAD_TILLS = ROOT / "tests" / "agent" / "certify" / "ill_mannered_till.py"
# Waits of the samples, and shorter ones for a test.
SCALES = {
    "till.py": ("ATTEMPTS = 1, 3, 1, 2", "ATTEMPTS = 1, 1, 0.1, 2"),
    "till.mjs": ("ANSWER_MS = 3000, PAUSE_MS = 1000", "ANSWER_MS = 1000, PAUSE_MS = 100"),
}
RUN = {"till.py": sys.executable, "till.mjs": "node", "till.php": "php", "Till.java": "java"}


def environment(directory: Path) -> Mapping[str, str]:
    """Return an environment whose scratch and home directories are in `directory`."""
    (scratch_directory := directory / "scratch").mkdir(exist_ok=True)
    own = {"TMPDIR": str(scratch_directory), "HOME": str(directory / "home")}
    return {**clean_environment(), **own, "PYTHONPATH": str(ROOT)}


def certify(directory: Path, *options: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run `certify` to its end."""
    result = subprocess.run(
        [*AGENT, "certify", *options],
        env=environment(directory),
        cwd=directory,
        input=typed,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert [*(directory / "scratch").iterdir()] == []  # nothing is left
    assert not (directory / "home").exists()
    return result


@contextmanager
def sandbox_process(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a sandbox until the block ends, at the latest; yield it when it serves."""
    process = subprocess.Popen(
        [*AGENT, "sandbox", "--port", "0"],
        env=environment(directory),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            while "Faults: here" not in process.stdout.readline():
                """Wait until it serves."""
            yield process
        finally:
            process.terminate()


def test_second_signal_does_not_end_a_sandbox_before_its_agent() -> None:
    ended = []

    async def run(_directory: Path) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            agent = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
            ended.append(await agent.wait())

    running_sandbox.run_in_scratch(run)

    assert ended == [0]


def test_port_8480_is_left_to_the_agent_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(running_sandbox, "DEFAULT_PORT", port)
        found = running_sandbox.listen_on(None)
        with pytest.raises(OSError, match="in use"):
            running_sandbox.listen_on(port)

    assert found[0].getsockname()[1] != port
    for one in found:
        one.close()


def test_port_of_the_installed_agent_is_left_to_it_while_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its tills find the sandbox there, and their captures are deleted with its directory."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file = tmp_path / "etc" / "loyalty-agent" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f"api.port = {port}\n")
    monkeypatch.setattr(discovery, "ROOT", tmp_path)
    monkeypatch.setattr(running_sandbox, "DEFAULT_PORT", port)
    monkeypatch.setattr(sandbox, "DEFAULT_PORT", port)

    found = sandbox.listen_or_exit(None)
    said = capsys.readouterr().err
    asked = sandbox.listen_or_exit(port)

    assert port not in {one.getsockname()[1] for one in found}
    assert f"port {port} is the installed agent's; the sandbox uses port" in said
    assert "what its tills send is not kept" in capsys.readouterr().err
    for one in (*found, *asked):
        one.close()


def test_port_8480_is_left_to_an_installed_agent_whose_settings_are_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "etc" / "loyalty-agent" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("api.port = ")
    monkeypatch.setattr(discovery, "ROOT", tmp_path)

    found = sandbox.listen_or_exit(None)

    assert found[0].getsockname()[1] != running_sandbox.DEFAULT_PORT
    for one in found:
        one.close()


def test_port_8480_is_not_shared_with_an_agent_on_the_other_loopback_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(running_sandbox, "DEFAULT_PORT", port)
        found = running_sandbox.listen_on(None)

    assert [one.getsockname()[1] != port for one in found] == [True, True]
    for one in found:
        one.close()


@pytest.mark.parametrize("end", [signal.SIGINT, None])
async def test_sandbox_obeys_the_terminal_and_leaves_nothing(
    tmp_path: Path, end: signal.Signals | None
) -> None:
    pipe = asyncio.subprocess.PIPE
    command = (*AGENT, "sandbox", "--port", "0")
    process = await asyncio.create_subprocess_exec(
        *command, env=environment(tmp_path), cwd=tmp_path, stdin=pipe, stdout=pipe
    )
    assert process.stdin is not None
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        help_text = (await process.stdout.readuntil(b"quit\n")).decode()
        process.stdin.write(b"503 email x2\nnonsense\n" + (b"quit\n" if end is None else b""))
        await process.stdout.readuntil(b"Type help.\n")
        if end is not None:
            process.send_signal(end)
        rest = await process.stdout.read()
        code = await process.wait()

    shown = help_text.replace(str(tmp_path / "scratch"), "/tmp")  # noqa: S108 - the usual one
    assert max(map(len, shown.splitlines())) <= 80
    assert (code, rest) == (0, b"The sandbox has ended; its directory is removed.\n")
    assert [*(tmp_path / "scratch").iterdir()] == []
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("sample", SCALES)
def test_a_sample_is_certified(tmp_path: Path, sample: str) -> None:
    command = RUN[sample]
    if shutil.which(command) is None:
        pytest.skip(f"this machine has no {command}")
    text, (waits, short) = (SAMPLES / sample).read_text("utf-8"), SCALES[sample]
    assert waits in text
    (till := tmp_path / sample).write_text(text.replace(waits, short), "utf-8")

    options = ("--report", "report.json", "--answer-limit", "4", "--port", "0")
    result = certify(tmp_path, "--till-command", f"{command} {till} {{url}}", *options)

    assert result.returncode == 0, result.stdout + result.stderr
    assert "\nPASSED: the till has the manners" in result.stdout
    document = json.loads((tmp_path / "report.json").read_text())
    found = {one["situation"]: one["verdict"] for one in document["situations"]}
    assert found == {one.key: "passed" for one in SITUATIONS} | {"correction": "not seen"}
    assert (document["verdict"], document["complete"]) == ("passed", True)
    assert "guest@example.com" not in json.dumps(document)
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.campaign
@pytest.mark.parametrize("sample", RUN)
def test_a_sample_is_certified_with_the_waits_that_it_has(tmp_path: Path, sample: str) -> None:
    if shutil.which(RUN[sample]) is None:
        pytest.skip(f"this machine has no {RUN[sample]}")

    command = f"{RUN[sample]} {SAMPLES / sample} {{url}}"
    result = certify(tmp_path, "--till-command", command, "--port", "0")

    assert result.returncode == 0, result.stdout


def test_a_bad_till_is_named_in_text_and_json_and_exits_with_1(tmp_path: Path) -> None:
    command = f"{sys.executable} {BAD_TILLS} changes-id {PATIENCE_SECONDS} {{url}}"

    options = ("--json", "--situation", "session-lost", "--port", "0")
    result = certify(tmp_path, "--till-command", command, *options)

    document = json.loads(result.stdout)  # and nothing else
    assert (result.returncode, document["verdict"], document["complete"]) == (1, "failed", False)
    (situation,) = document["situations"]
    text = "The till changed its correlationId on the repeat: 2 ids in one sale."
    assert text in [one["text"] for one in situation["findings"]]
    lines = result.stderr.splitlines()
    assert f"  FAILED: {text}" in lines
    assert lines[-1] == f"1 of 12 situations played. Failed: {situation['situation']}."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--situation", "rain"), "no situation rain: use sale, "),
        (("--till-command", "/no/such/till {url}"), "there is no program /no/such/till"),
        (("--till-command", "a 'b"), "cannot be read"),
    ],
)
def test_wrong_use_exits_with_2_and_its_reason(
    tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    result = certify(tmp_path, *options, "--port", "0")

    assert result.returncode == 2
    assert message in result.stderr


def test_command_that_is_not_given_the_address_is_told_how_to_get_it(tmp_path: Path) -> None:
    options = ("--situation", "sale", "--port", "0")

    result = certify(tmp_path, "--till-command", "false", *options)

    assert "the till's command has no {url}" in result.stderr
    assert "SANDBOX_URL" in result.stderr
    assert "has no {url}" not in certify(tmp_path, "--till-command", "false {url}", *options).stderr


def test_killed_sandbox_leaves_no_agent_and_the_next_one_removes_its_directory(
    tmp_path: Path,
) -> None:
    with sandbox_process(tmp_path) as killed:
        (left,) = (tmp_path / "scratch").iterdir()
        agent_id = int((left / "agent" / "agent.lock").read_text().split()[1])
        gone = os.pidfd_open(agent_id)
        killed.kill()
        assert select.select([gone], [], [], 10)[0], "the agent ends with it"
        os.close(gone)
    assert left.exists()

    with sandbox_process(tmp_path) as running:
        (there,) = (tmp_path / "scratch").iterdir()
        assert there != left
        with sandbox_process(tmp_path) as other:
            assert there.exists(), "its program runs"
            other.communicate("quit\n", PATIENCE_SECONDS)
        running.communicate("quit\n", PATIENCE_SECONDS)
    assert [*(tmp_path / "scratch").iterdir()] == []


def test_a_person_is_told_what_to_do_and_what_was_not_seen(tmp_path: Path) -> None:
    keys = ("sale", "silent", "refused")
    options = [word for key in keys for word in ("--situation", key)]

    result = certify(tmp_path, *options, "--port", "0", typed="y\nwhat\ns\n")

    lines = result.stdout.splitlines()
    assert result.returncode == 1
    assert "1. A sale with an e-mail address" in lines
    assert "  not seen: No request arrived." in lines
    assert "   Type y, n or s, and Enter." in lines
    assert lines.count("  not seen: The situation was skipped.") == 2
    assert lines[-2:] == [
        "NOT PASSED: not everything was seen.",
        "3 of 12 situations played. Not seen: sale, silent, refused.",
    ]
