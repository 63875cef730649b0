"""Runs the commands of `docs/till-api.md` against an agent and compares the documented answers."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from agent.api.responses import ERROR_CODES
from agent.capture import refusals
from tests.support.agent.in_process import agent_in_a_thread, settings_in

PAGE = (Path(__file__).parents[3] / "docs" / "till-api.md").read_text("utf-8")
BLOCKS = re.findall(r"<!-- (till|answer) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.process
def test_commands_give_the_documented_answers(tmp_path: Path) -> None:
    with agent_in_a_thread(settings_in(tmp_path)) as agent:
        for kind, text in BLOCKS:
            if kind == "till":
                output = shell(text.replace("8480", str(agent.port)))
                assert json.loads(output)
            else:
                assert output == text.strip()


def shell(commands: str) -> str:
    environment = os.environ | {"no_proxy": "127.0.0.1"}
    run = subprocess.run(
        ["bash", "-euc", commands], capture_output=True, check=True, env=environment, text=True
    )
    return run.stdout


def test_page_lists_every_error_code() -> None:
    listed = set(re.findall(r"^\| \d{3} \| `([A-Z_]+)`", PAGE, re.MULTILINE))

    assert listed == {code.value for code in ERROR_CODES}


@pytest.mark.parametrize("message", [v for k, v in vars(refusals).items() if k.isupper()])
def test_page_lists_every_message(message: str) -> None:
    assert f"| `{message}` |" in PAGE
