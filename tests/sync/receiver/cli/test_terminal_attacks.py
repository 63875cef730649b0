"""No command prints a control character that a till or its token's thief has sent.

ESC sequences change a terminal's title, colours and content and can make it type; C1 controls are
the same in one byte; bidi overrides show another text than there is.
"""

import asyncio
import re
import sqlite3
from contextlib import closing

import pytest

from tests.support.head_office.messages import SimulatedAgent, session
from tests.support.head_office.process import hq, hq_on_terminal, write_config
from tests.support.head_office.receiver import receiver_under_test, settings_in

pytestmark = pytest.mark.process

STYLES = re.compile(r"\x1b\[[0-9;]*m")
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\x7f\r\x08"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A head office to which a hostile agent has sent control characters everywhere it can."""
    directory = tmp_path_factory.mktemp("hostile") / "state"
    till = SimulatedAgent()

    async def attack() -> None:
        async with receiver_under_test(settings_in(directory)) as receiver:
            await receiver.enroll(till)
            names = ("externalIdentifier", "channel", "userStatus", "anonymousSessionId", "extra")
            body = {"correlationId": HOSTILE, **dict.fromkeys(names, HOSTILE)}
            answers = [
                await receiver.heartbeat(till, lastSequence=1),
                await receiver.send(
                    till,
                    session(2, HOSTILE, body=body),
                    session(3, HOSTILE, type=HOSTILE),
                    baseSequence=2,
                ),
                await receiver.heartbeat(till, lastSequence=9),
            ]
            assert [answer.status for answer in answers] == [200, 200, 200]

    asyncio.run(attack())
    # The API refuses these; another writer of the database, or an older version, may not have.
    with closing(sqlite3.connect(directory / "hq.db")) as connection, connection:
        connection.execute("UPDATE agents SET agent_version = ?", (HOSTILE,))
        connection.execute("UPDATE gaps SET reason = ?", (HOSTILE,))
        entry = ("2026-03-04T05:06:07.000000Z", "1", HOSTILE, HOSTILE)
        connection.execute("INSERT INTO audit_log VALUES ('', ?, ?, '', 'x', ?, ?, '{}')", entry)
        for table in ("agents", "gaps", "sessions", "rejections"):
            change = f"UPDATE {table} SET epoch = ?, till_id = ?"  # noqa: S608 - our own names
            connection.execute(change, (HOSTILE, HOSTILE))
    return str(write_config(directory))


COMMANDS = [
    ["export", "sessions"],
    ["export", "sessions", "--format", "jsonl"],
    ["export", "rejections"],
    ["export", "agents"],
    ["stores"],
    ["stores", "--json"],
    ["completeness"],
    ["completeness", "--store", "0042"],
    ["completeness", "--json"],
    ["gaps", "list"],
    ["gaps", "list", "--json"],
    ["audit"],
]


def controls_in(lines: list[str]) -> set[str]:
    """Return the characters of these lines that are not printable, without our own styles."""
    return {char for line in lines for char in STYLES.sub("", line) if not char.isprintable()}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_terminal_gets_no_control_character(config: str, command: list[str]) -> None:
    shown = hq_on_terminal("--config", config, *command)

    assert "owned" in "".join(shown)
    assert controls_in(shown) == set()


@pytest.mark.parametrize("command", [["stores"], ["completeness"]], ids=" ".join)
def test_listing_in_a_pipe_gets_no_control_character(config: str, command: list[str]) -> None:
    """It is looked at by `less -R`, or pasted into a ticket."""
    printed = hq("--config", config, *command)

    assert controls_in(printed.stdout.split("\n")) == set()


@pytest.mark.parametrize("arguments", [[HOSTILE], [f"--{HOSTILE}"], ["stores", HOSTILE]])
def test_usage_error_quotes_no_control_character(arguments: list[str]) -> None:
    assert controls_in(hq_on_terminal(*arguments)) == set()
