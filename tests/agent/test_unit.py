"""The systemd unit: the agent runs for years, with no hands and no network."""

from configparser import RawConfigParser
from pathlib import Path

import pytest

import tests

UNIT = Path(tests.__file__).resolve().parents[1] / "systemd" / "loyalty-agent.service"


@pytest.fixture
def unit() -> RawConfigParser:
    parser = RawConfigParser(delimiters="=", comment_prefixes="#")
    parser.read(UNIT, "utf-8")
    return parser


def test_agent_is_started_again_however_it_ended_and_however_often(unit: RawConfigParser) -> None:
    """After five quick starts systemd gives a service up for good, unless told otherwise."""
    assert unit["Service"]["Restart"] == "always"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"


def test_agent_starts_without_a_network(unit: RawConfigParser) -> None:
    orders = {"requires", "wants", "bindsto", "requisite", "after"} & set(unit["Unit"])

    assert not [name for name in orders if "network" in unit["Unit"][name]]


def test_its_files_are_for_its_own_user_alone(unit: RawConfigParser) -> None:
    assert unit["Service"]["User"] == "loyalty-agent"
    assert unit["Service"]["StateDirectoryMode"] == "0700"
