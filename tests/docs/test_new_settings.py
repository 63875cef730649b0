"""Settings that an installed configuration lacks are listed for the administrator, by version."""

import re
from pathlib import Path

from agent.config import Settings
from sync.receiver.config import ReceiverSettings
from sync.runtime.settings.names import dotted, known_settings
from tests.support.processes import ROOT
from tests.support.version_0_1_0 import SETTINGS

LISTED = re.compile(r"^\| `(loyalty-\w+)` \| `([\w.]+)` \|", re.MULTILINE)
MODELS = {"loyalty-agent": Settings, "loyalty-hq": ReceiverSettings}


def known() -> set[tuple[str, str]]:
    """Return program and name of each setting."""
    return {
        (program, dotted(path))
        for program, model in MODELS.items()
        for path in known_settings(model)
    }


def of_version_0_1_0() -> set[tuple[str, str]]:
    """Return the settings that the first version's file had."""
    lines = Path(SETTINGS).read_text().splitlines()
    return {(program, name) for program, name in (line.split() for line in lines)}


def test_each_setting_added_since_the_first_version_is_listed_once() -> None:
    """A new setting needs a line in docs/new-settings.md."""
    listed = LISTED.findall((ROOT / "docs/new-settings.md").read_text())
    assert sorted(listed) == sorted(known() - of_version_0_1_0())
