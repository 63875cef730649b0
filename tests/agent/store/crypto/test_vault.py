"""The vault: addresses unreadable, and digests meaningless, without the key."""

import base64
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.store.crypto.vault import (
    KEY_BYTES,
    DecryptionError,
    UnusableKey,
    Vault,
    check_key,
    open_vault,
    read_vault,
)
from tests.support.agent.store import ADDRESS, KEY_FILE

VAULT = Vault(bytes(range(KEY_BYTES)))
OTHER = Vault(bytes(KEY_BYTES))


@given(address=st.text(max_size=300), correlation_id=st.text(min_size=1, max_size=128))
def test_encrypted_address_decrypts_in_its_session(address: str, correlation_id: str) -> None:
    assert VAULT.decrypt(VAULT.encrypt(address, correlation_id), correlation_id) == address


def test_address_moved_to_another_session_does_not_decrypt() -> None:
    with pytest.raises(DecryptionError):
        VAULT.decrypt(VAULT.encrypt(ADDRESS, "one"), "two")


def test_error_names_another_key_as_the_reason() -> None:
    with pytest.raises(DecryptionError, match="another key"):
        OTHER.decrypt(VAULT.encrypt(ADDRESS, "one"), "one")


def test_any_flipped_bit_is_detected() -> None:
    encrypted = VAULT.encrypt(ADDRESS, "one")
    for bit in range(8 * len(encrypted)):
        flipped = bytearray(encrypted)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecryptionError):
            VAULT.decrypt(bytes(flipped), "one")


def test_any_truncation_is_detected() -> None:
    encrypted = VAULT.encrypt(ADDRESS, "one")
    for length in range(len(encrypted)):
        with pytest.raises(DecryptionError):
            VAULT.decrypt(encrypted[:length], "one")


def test_same_address_never_encrypts_to_the_same_bytes() -> None:
    assert len({VAULT.encrypt(ADDRESS, "one") for _ in range(100)}) == 100


def test_digest_depends_on_address_session_and_key() -> None:
    digest = VAULT.digest(ADDRESS, "one")
    assert digest == VAULT.digest(ADDRESS, "one")
    assert digest != VAULT.digest("guest.two@example.com", "one")
    assert digest != VAULT.digest(ADDRESS, "two")
    assert digest != OTHER.digest(ADDRESS, "one")


def test_digest_separates_session_id_and_address() -> None:
    assert VAULT.digest("bc", "a") != VAULT.digest("c", "ab")


def test_key_is_created_once_and_private_to_its_owner(tmp_path: Path) -> None:
    usual = os.umask(0)
    try:
        encrypted = open_vault(tmp_path / KEY_FILE).encrypt(ADDRESS, "one")
    finally:
        os.umask(usual)
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert len(base64.b64decode((tmp_path / KEY_FILE).read_bytes())) == KEY_BYTES
    assert open_vault(tmp_path / KEY_FILE).decrypt(encrypted, "one") == ADDRESS


def test_new_key_is_synced_before_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address encrypted with a key lost in a power cut could never be read."""
    synced: list[Path] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    monkeypatch.setattr("os.fsync", note)
    open_vault(tmp_path / KEY_FILE)
    assert [path.parent for path in synced] == [tmp_path, tmp_path.parent]


@pytest.mark.parametrize(
    "text", [b"", b"too short", b"=" * 44, base64.b64encode(bytes(31)), b"\xff" * 44]
)
def test_malformed_key_error_names_the_file_and_the_remedy(tmp_path: Path, text: bytes) -> None:
    (tmp_path / KEY_FILE).write_bytes(text)
    with pytest.raises(UnusableKey, match=KEY_FILE) as raised:
        open_vault(tmp_path / KEY_FILE)
    assert "Restore the key from your backup" in str(raised.value)
    assert (tmp_path / KEY_FILE).read_bytes() == text


@pytest.mark.parametrize("look_at", [check_key, read_vault])
def test_looking_at_the_key_takes_it_from_nobody(
    tmp_path: Path, look_at: Callable[[Path], object]
) -> None:
    """Root's doctor did: of a key of root's that the service's group may read."""
    open_vault(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)

    look_at(tmp_path / "key")

    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o640
