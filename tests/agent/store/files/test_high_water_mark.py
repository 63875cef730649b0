"""The high-water mark: the last committed number, read back only if intact."""

from pathlib import Path

import pytest

from agent.facts import Receipt
from agent.store.files.high_water_mark import MARK_FILE, HighWaterMark, read_high_water_mark
from tests.support.faults.descriptors import every_descriptor_taken


def noted(directory: Path, *sequences: int) -> None:
    """Write marks and close the file."""
    mark = HighWaterMark(directory)
    for sequence in sequences:
        mark.write(Receipt("epoch-1", sequence))
    mark.close()


def open_descriptors() -> int:
    """Return the number of open files of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_last_mark_is_read_back(tmp_path: Path) -> None:
    noted(tmp_path, 1, 2, 1_000_000_000_000)
    assert read_high_water_mark(tmp_path) == Receipt("epoch-1", 1_000_000_000_000)


def test_shorter_mark_replaces_a_longer_one_completely(tmp_path: Path) -> None:
    noted(tmp_path, 123_456_789, 7)
    assert read_high_water_mark(tmp_path) == Receipt("epoch-1", 7)


def test_missing_mark_is_none(tmp_path: Path) -> None:
    assert read_high_water_mark(tmp_path) is None


def test_mark_that_cannot_be_opened_for_lack_of_descriptors_is_not_taken_for_missing(
    tmp_path: Path,
) -> None:
    noted(tmp_path, 7)

    with every_descriptor_taken(), pytest.raises(OSError, match="Too many open files"):
        read_high_water_mark(tmp_path)


@pytest.mark.parametrize("kept_bytes", [0, 1, 10, 20])
def test_torn_mark_is_none(tmp_path: Path, kept_bytes: int) -> None:
    noted(tmp_path, 12_345)
    file = tmp_path / MARK_FILE
    file.write_bytes(file.read_bytes()[:kept_bytes])
    assert read_high_water_mark(tmp_path) is None


def test_mark_with_a_flipped_bit_is_none_or_the_same(tmp_path: Path) -> None:
    """A flipped bit never yields another number; in the padding it changes nothing."""
    noted(tmp_path, 12_345)
    file = tmp_path / MARK_FILE
    whole = file.read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        assert read_high_water_mark(tmp_path) in {None, Receipt("epoch-1", 12_345)}


def test_mark_mixed_from_two_writes_is_none(tmp_path: Path) -> None:
    noted(tmp_path, 11_111)
    file = tmp_path / MARK_FILE
    old = file.read_bytes()
    noted(tmp_path, 22_222)
    new = file.read_bytes()
    cut = new.index(b"22222") + 2
    file.write_bytes(new[:cut] + old[cut:])
    assert read_high_water_mark(tmp_path) is None


def test_mark_file_is_private_to_its_owner(tmp_path: Path) -> None:
    noted(tmp_path, 1)
    assert (tmp_path / MARK_FILE).stat().st_mode & 0o777 == 0o600


def test_close_releases_the_descriptor_even_if_the_sync_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each reopening after an I/O error would leak a descriptor."""

    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    before = open_descriptors()
    mark = HighWaterMark(tmp_path)
    monkeypatch.setattr("os.fdatasync", fail)
    with pytest.raises(OSError, match="Input/output"):
        mark.close()
    assert open_descriptors() == before
