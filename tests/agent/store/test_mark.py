"""The mark: the number last committed, believed only when it is whole."""

from pathlib import Path

import pytest

from agent.store.files.high_water_mark import MARK_FILE, Mark, Marked, read_mark


def noted(directory: Path, *sequences: int) -> None:
    """Note commits and close the mark."""
    mark = Mark(directory)
    for sequence in sequences:
        mark.note("epoch-1", sequence)
    mark.close()


def open_descriptors() -> int:
    """Count the files that this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_the_last_note_is_read_back(tmp_path: Path) -> None:
    noted(tmp_path, 1, 2, 1_000_000_000_000)
    assert read_mark(tmp_path) == Marked("epoch-1", 1_000_000_000_000)


def test_a_shorter_note_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    noted(tmp_path, 123_456_789, 7)
    assert read_mark(tmp_path) == Marked("epoch-1", 7)


def test_no_mark_is_none(tmp_path: Path) -> None:
    assert read_mark(tmp_path) is None


@pytest.mark.parametrize("kept_bytes", [0, 1, 10, 20])
def test_a_torn_mark_is_none(tmp_path: Path, kept_bytes: int) -> None:
    noted(tmp_path, 12_345)
    file = tmp_path / MARK_FILE
    file.write_bytes(file.read_bytes()[:kept_bytes])
    assert read_mark(tmp_path) is None


def test_a_mark_with_any_bit_flipped_is_none_or_the_same(tmp_path: Path) -> None:
    """A flipped bit never makes another number of it; in the padding it changes nothing."""
    noted(tmp_path, 12_345)
    file = tmp_path / MARK_FILE
    whole = file.read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        assert read_mark(tmp_path) in {None, Marked("epoch-1", 12_345)}


def test_a_mark_half_of_one_note_and_half_of_another_is_none(tmp_path: Path) -> None:
    noted(tmp_path, 11_111)
    file = tmp_path / MARK_FILE
    old = file.read_bytes()
    noted(tmp_path, 22_222)
    new = file.read_bytes()
    cut = new.index(b"22222") + 2
    file.write_bytes(new[:cut] + old[cut:])
    assert read_mark(tmp_path) is None


def test_the_mark_is_for_its_owner_alone(tmp_path: Path) -> None:
    noted(tmp_path, 1)
    assert (tmp_path / MARK_FILE).stat().st_mode & 0o777 == 0o600


def test_a_mark_whose_sync_fails_still_gives_its_file_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reopening after an I/O error would leave a descriptor behind."""

    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    before = open_descriptors()
    mark = Mark(tmp_path)
    monkeypatch.setattr("os.fdatasync", fail)
    with pytest.raises(OSError, match="Input/output"):
        mark.close()
    assert open_descriptors() == before
