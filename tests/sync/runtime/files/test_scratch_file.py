"""A scratch file never stays: it may hold what customers typed."""

import os
from pathlib import Path

import pytest

from sync.runtime.files.scratch_file import scratch_beside

_open = os.open


def test_scratch_file_is_removed_if_a_signal_comes_right_after_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_and_interrupt(path: Path, *options: int) -> int:
        os.close(_open(path, *options))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", make_and_interrupt)
        with pytest.raises(KeyboardInterrupt), scratch_beside(tmp_path / "copy.db"):
            pass

    assert list(tmp_path.iterdir()) == []


def test_scratch_file_that_cannot_be_made_is_named_after_the_file(tmp_path: Path) -> None:
    wanted = tmp_path / "missing" / "copy.db"

    with (
        pytest.raises(FileNotFoundError) as caught,
        scratch_beside(wanted),
    ):
        pass

    assert caught.value.filename == str(wanted)
