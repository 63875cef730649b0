"""The chain of a private authority is trusted alike by every Python that runs the programs."""

import ssl
from pathlib import Path

import pytest

from sync.receiver.auth.authority import Authority, check_authority
from sync.runtime.network.trust import trusting
from tests.support.certificates import make_authority, make_certificate

_usual = ssl.create_default_context


@pytest.fixture(autouse=True)
def strict_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Python's contexts be as strict as from 3.13 on."""

    def strict(**options: object) -> ssl.SSLContext:
        context = _usual(**options)  # type: ignore[arg-type]
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)


def test_certificate_without_authority_key_identifier_is_trusted_by_machines(
    tmp_path: Path,
) -> None:
    made = make_authority(tmp_path)
    authority = Authority("", made.cert_file.read_text())

    check_authority(made.served.served(), made.served.cert_file, "127.0.0.1", authority)


def test_only_the_form_of_certificates_is_not_verified(tmp_path: Path) -> None:
    context = trusting(make_certificate(tmp_path).cert_file)

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
