"""Secret files; error messages never contain the secret."""

from pathlib import Path

import pytest

from agent.config import ConfigurationError, check_files, load_settings, read_secret


def test_one_trailing_newline_is_not_part_of_the_secret(tmp_path: Path) -> None:
    file = tmp_path / "token"

    for content in (b"s3cret", b"s3cret\n", b"s3cret\r\n"):
        file.write_bytes(content)
        assert read_secret(file) == "s3cret"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b"s3cret\nx", "more than one line"),
        (b"s3cret\r\nX-Other: 1\r\n", "more than one line"),
        (b"s3cret\x00", "more than printable ASCII"),
        ("s3crét".encode(), "more than printable ASCII"),
        (b"s3cret" * 20_000, "more than 65536 bytes"),
    ],
)
def test_invalid_secret_is_rejected_and_not_repeated_in_the_message(
    tmp_path: Path, content: bytes, told: str
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)

    with pytest.raises(ConfigurationError) as raised:
        read_secret(file, "api.token_file")

    assert f"{file}: api.token_file: " in str(raised.value)
    assert told in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_missing_secret_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read \(No such file"):
        read_secret(tmp_path / "absent")


def test_all_unusable_files_are_reported_together(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    environ = {
        "LOYALTY_AGENT__STORAGE__DIRECTORY": str(tmp_path),
        "LOYALTY_AGENT__API__TOKEN_FILE": str(tmp_path / "absent"),
        "LOYALTY_AGENT__CENTRAL__CA_FILE": str(tmp_path / "empty.pem"),
    }

    with pytest.raises(ConfigurationError) as raised:
        check_files(load_settings(None, environ))

    told = {(error.setting, error.message.split(" (")[0]) for error in raised.value.errors}
    assert told == {
        ("api.token_file", "the file cannot be read"),
        ("central.ca_file", "the file is empty"),
    }


def test_invalid_certificate_is_reported(tmp_path: Path) -> None:
    for name in ("crt", "key"):
        (tmp_path / name).write_text("not PEM")
    environ = {
        "LOYALTY_AGENT__STORAGE__DIRECTORY": str(tmp_path),
        "LOYALTY_AGENT__API__TLS_CERT_FILE": str(tmp_path / "crt"),
        "LOYALTY_AGENT__API__TLS_KEY_FILE": str(tmp_path / "key"),
    }

    with pytest.raises(ConfigurationError, match=r"api\.tls_cert_file: this certificate cannot"):
        check_files(load_settings(None, environ))


def test_key_file_and_directory_created_by_the_agent_may_be_missing(tmp_path: Path) -> None:
    environ = {
        "LOYALTY_AGENT__STORAGE__DIRECTORY": str(tmp_path / "data"),
        "LOYALTY_AGENT__STORAGE__ENCRYPTION_KEY_FILE": str(tmp_path / "vault.key"),
    }

    check_files(load_settings(None, environ))

    assert list(tmp_path.iterdir()) == []


def test_storage_directory_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    environ = {"LOYALTY_AGENT__STORAGE__DIRECTORY": str(tmp_path / "data")}

    with pytest.raises(ConfigurationError, match=r"storage\.directory: this is not a directory"):
        check_files(load_settings(None, environ))
