"""Checks for unset names, missing destination and unusable files."""

from pathlib import Path

import pytest

from agent.config.central import AuthSettings, CentralSettings
from agent.config.settings import StoreSettings
from agent.doctor.configuration import check_configuration, check_destination, check_names
from sync.runtime.checks.check import Verdict
from tests.support.agent.export_keys import WRONG_KEYS
from tests.support.agent.in_process import settings_in


def test_missing_token_file_is_a_fault_that_names_the_file(tmp_path: Path) -> None:
    auth = AuthSettings.model_validate({"kind": "bearer", "token_file": tmp_path / "absent"})
    central = CentralSettings(url="http://127.0.0.1:1", auth=auth)

    check = check_configuration(settings_in(tmp_path, central=central))

    assert check.verdict is Verdict.FAULT
    assert f"{tmp_path}/absent" in check.found


def test_key_of_the_wrong_size_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "encryption.key").write_text("short\n")

    check = check_configuration(settings_in(tmp_path))

    assert check.verdict is Verdict.FAULT
    assert "expected 32 random bytes" in check.found


@pytest.mark.parametrize(("content", "fault"), WRONG_KEYS)
def test_wrong_public_key_for_exports_is_a_fault(tmp_path: Path, content: str, fault: str) -> None:
    file = tmp_path / "hq.pub"
    file.write_text(content)
    central = CentralSettings.model_validate({"public_key_file": file})

    check = check_configuration(settings_in(tmp_path, central=central))

    assert check.verdict is Verdict.FAULT
    assert check.found.count(f"{file}: central.public_key_file: {fault}") == 1


def test_configuration_check_ignores_the_storage_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert check_configuration(settings_in(tmp_path / "file")).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("set_", "delivers", "verdict", "unset"),
    [
        ({}, False, Verdict.WARNING, "store.store_id and store.till_id are not set"),
        ({}, True, Verdict.FAULT, "store.store_id and store.till_id are not set"),
        ({"store_id": "0042"}, True, Verdict.FAULT, "store.till_id is not set"),
        ({"store_id": "0042", "till_id": "till-1"}, True, Verdict.PASS, "till-1 in 0042"),
    ],
)
def test_unset_store_and_till_are_reported(
    set_: dict[str, str], verdict: Verdict, unset: str, *, delivers: bool
) -> None:
    check = check_names(StoreSettings(**set_), delivers=delivers)

    assert check.verdict is verdict
    assert check.found.startswith(unset)


@pytest.mark.parametrize(
    ("url", "verdict"), [("", Verdict.WARNING), ("https://hq.example", Verdict.PASS)]
)
def test_missing_destination_is_a_warning(url: str, verdict: Verdict) -> None:
    assert check_destination(url).verdict is verdict
