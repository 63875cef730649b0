"""The doctor says that head office hears another machine under this name."""

from pathlib import Path

import pytest

from agent.doctor.store.findings import check_shared_name
from agent.store.files.shared_name_note import SHARED_NAME_FILE, SharedNote, write_shared_note
from sync.runtime.checks.check import Verdict


def test_shared_name_is_a_fault_with_its_beginning(tmp_path: Path) -> None:
    write_shared_note(tmp_path, SharedNote("boot", 1_767_225_600_000_000))

    check = check_shared_name(tmp_path)

    assert check is not None
    assert check.verdict is Verdict.FAULT
    assert "since 2026-01-01 00:00 UTC" in check.found


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff"])
def test_nothing_is_said_without_a_readable_note(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / SHARED_NAME_FILE).write_bytes(content)

    assert check_shared_name(tmp_path) is None
