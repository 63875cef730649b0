"""Authority of head office's certificate, for join codes: none if it is publicly trusted.

The certificate is verified as a machine verifies it: by a TLS handshake in memory with the
configured certificate, for the host name of the URL. This finds a wrong name, an expired
certificate or an incomplete chain before codes are printed, not in a thousand stores.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from sync.protocol.join_code import authority_mark
from sync.runtime.network.trust import trusting

_MAX_BYTES = 1024 * 1024
_ROUNDS = 8
# X509_V_ERR_… for an authority that the verifier does not know.
_UNKNOWN_AUTHORITY = {2, 18, 19, 20, 21}


class AuthorityError(ValueError):
    """Machines could not connect with this certificate; the message names the cause and remedy."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority: its mark in join codes, and its certificate in PEM."""

    mark: str
    certificate: str


def read_authority(file: Path) -> Authority:
    """Return the authority whose certificate is in `file`. Raises `AuthorityError`."""
    roots = [one for one in _certificates(file) if one.subject == one.issuer]
    if len(roots) != 1:
        raise AuthorityError(
            f"{file}: expected one certificate of an authority, signed by itself; found"
            f" {len(roots)}"
        )
    return _authority(roots[0])


def authority_of(served: ssl.SSLContext, chain_file: Path, host: str) -> Authority | None:
    """Return the authority that machines need to trust `host`; None if they already trust it.

    `served` is the server's TLS context with the certificates in `chain_file`. Raises
    `AuthorityError`.
    """
    try:
        _verify(served, host, None)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code not in _UNKNOWN_AUTHORITY:
            raise _unusable(chain_file, host, error) from None
    else:
        return None
    last = _certificates(chain_file)[-1]
    if last.subject != last.issuer:
        issuer = last.issuer.rfc4514_string()
        raise AuthorityError(
            f"{chain_file} is issued by {issuer}, which is not publicly trusted: give the"
            " certificate of that authority with --ca FILE"
        )
    return _authority(last)


def check_authority(
    served: ssl.SSLContext, chain_file: Path, host: str, authority: Authority
) -> None:
    """Raise `AuthorityError` unless a machine that trusts only `authority` trusts `host`."""
    try:
        _verify(served, host, authority)
    except ssl.SSLCertVerificationError as error:
        raise _unusable(chain_file, host, error) from None


def _verify(served: ssl.SSLContext, host: str, authority: Authority | None) -> None:
    """Do a TLS handshake in memory, trusting one authority or, with None, those of the system.

    Raises `ssl.SSLCertVerificationError`.
    """
    trust = trusting(ca_certificate=authority.certificate if authority else None)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trust.wrap_bio(to_client, to_server, server_hostname=host)
    server = served.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(_ROUNDS):
        if all([_is_done(client), _is_done(server)]):
            return


def _is_done(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _certificates(file: Path) -> list[x509.Certificate]:
    try:
        with file.open("rb") as opened:
            return x509.load_pem_x509_certificates(opened.read(_MAX_BYTES))
    except OSError as error:
        raise AuthorityError(f"cannot read {file} ({error.strerror})") from None
    except ValueError:
        raise AuthorityError(f"{file}: expected certificates in PEM") from None


def _authority(certificate: x509.Certificate) -> Authority:
    pem = certificate.public_bytes(Encoding.PEM).decode()
    return Authority(authority_mark(certificate.public_bytes(Encoding.DER)), pem)


def _unusable(file: Path, host: str, error: ssl.SSLCertVerificationError) -> AuthorityError:
    return AuthorityError(f"machines could not connect to {host}: {file}: {error.verify_message}")
