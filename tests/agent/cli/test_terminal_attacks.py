"""No command prints a control character that comes from outside.

Any local user can listen on the agent's port while it is down, and head office chooses the texts of
errors; a till chooses correlation ids.
"""

import json
import re

import pytest

from agent.cli import app
from tests.agent.cli.test_status import STATUS, canned_server
from tests.support.processes import messages

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\x7f\r\x08"
STYLES = re.compile(r"\x1b\[[0-9;]*m")
LETTER = {
    "epoch": HOSTILE,
    "sequence": 1,
    "type": HOSTILE,
    "correlationId": HOSTILE,
    "errorCode": HOSTILE,
    "errorMessage": f"two\nlines {HOSTILE}",
    HOSTILE: HOSTILE,
}
FAILING = {"state": "retrying", "trouble": HOSTILE, "detail": HOSTILE, "passes": 9}
NUMBER = "6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b/1"


@pytest.fixture(params=[True, False], ids=["terminal", "pipe"])
def _terminal_or_pipe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: request.param)


def output_of(
    answer: object,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: int = 200,
) -> str:
    """Run a command against a server that answers every request so; return all it printed."""
    with canned_server(json.dumps(answer, ensure_ascii=False).encode(), code) as (port, _):
        monkeypatch.setenv("LOYALTY_AGENT__API__PORT", str(port))
        with pytest.raises(SystemExit):
            app(arguments)
    printed = capsys.readouterr()
    return printed.out + messages(printed.err)


def controls_in(text: str) -> set[str]:
    """Return the characters that are not printable, without our own line breaks and styles."""
    return {char for char in STYLES.sub("", text) if not char.isprintable()} - {"\n", "\t"}


@pytest.mark.parametrize(
    ("answer", "arguments"),
    [
        (STATUS | {"storeId": HOSTILE, "sync": FAILING, HOSTILE: [HOSTILE]}, ["status"]),
        (STATUS | {"storeId": HOSTILE, "sync": FAILING}, ["status", "--json"]),
        (LETTER, ["dead-letters", "show", NUMBER]),
        (LETTER, ["dead-letters", "retry", f"{NUMBER}{HOSTILE}"]),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("_terminal_or_pipe")
def test_answer_of_an_impostor_is_escaped(
    answer: object,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    printed = output_of(answer, arguments, monkeypatch, capsys)

    assert "owned" in printed
    assert controls_in(printed) == set()


@pytest.mark.parametrize(
    "arguments", [["dead-letters", "list"], ["sync"], ["status"]], ids=" ".join
)
@pytest.mark.usefixtures("_terminal_or_pipe")
def test_error_message_of_an_impostor_is_escaped(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = output_of({"errorMessage": HOSTILE}, arguments, monkeypatch, capsys, code=409)

    assert "owned" in printed
    assert controls_in(printed) == set()


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.usefixtures("_terminal_or_pipe")
def test_dead_letters_are_listed_escaped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    # The first page; then the command asks for the letters after it.
    monkeypatch.setattr("agent.cli.dead_letters._pages", lambda _: iter([[LETTER]]))

    printed = output_of(
        [], ["dead-letters", "list", *(["--json"] if as_json else [])], monkeypatch, capsys
    )

    assert "owned" in printed
    assert controls_in(printed) == set()
    if as_json:
        assert json.loads(printed) == [LETTER]


def test_configuration_error_quotes_no_control_character(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOYALTY_AGENT__STORE__STORE_ID", HOSTILE)
    monkeypatch.setenv(f"LOYALTY_AGENT__STORE__{HOSTILE}", "x")

    with pytest.raises(SystemExit):
        app(["check-config"])

    assert controls_in(capsys.readouterr().err) == set()
