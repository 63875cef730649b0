"""Test certificates for the loopback address: valid, not yet valid, expired, of an authority."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate and its key."""

    cert_file: Path
    key_file: Path

    def served(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert_file, self.key_file)
        return context

    def served_to(self, *clients: "Certificate") -> ssl.SSLContext:
        """Return a TLS 1.3 server context that requires one of these client certificates."""
        context = self.served()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        for client in clients:
            context.load_verify_locations(client.cert_file)
        return context

    def take_the_place_of(self, other: "Certificate") -> None:
        """Replace the files of `other`, as a certificate renewal does."""
        self.cert_file.replace(other.cert_file)
        self.key_file.replace(other.key_file)


def make_certificate(
    directory: Path,
    *,
    starts_in_days: float = -1,
    ends_in_days: float = 1,
    address: str = "127.0.0.1",
) -> Certificate:
    """Write a certificate for `address` and its key to `directory`, created if missing."""
    directory.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    now, serial = datetime.now(UTC), x509.random_serial_number()
    # Unique name: of two CAs with the same name OpenSSL tries only the first.
    common_name = f"a test's own authority {serial % 2**64}"
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now + timedelta(days=starts_in_days))
        .not_valid_after(now + timedelta(days=ends_in_days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    made = Certificate(directory / "cert.pem", directory / "key.pem")
    made.cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made


@dataclass(frozen=True, slots=True)
class Authority:
    """A private certificate authority, and a server's certificate that it has issued.

    The server presents its own certificate alone, as most do.
    """

    cert_file: Path
    served: Certificate


def make_authority(directory: Path, address: str = "127.0.0.1") -> Authority:
    """Write an authority's certificate and a certificate for `address` to `directory`."""
    authority = make_certificate(directory / "authority")
    served = make_certificate(directory / "server", address=address)
    issuer = x509.load_pem_x509_certificate(authority.cert_file.read_bytes())
    issuer_key = serialization.load_pem_private_key(authority.key_file.read_bytes(), None)
    own = x509.load_pem_x509_certificate(served.cert_file.read_bytes())
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    issued = (
        x509.CertificateBuilder()
        .subject_name(own.subject)
        .issuer_name(issuer.subject)
        .public_key(own.public_key())
        .serial_number(own.serial_number)
        .not_valid_before(own.not_valid_before_utc)
        .not_valid_after(own.not_valid_after_utc)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False
        )
        .sign(issuer_key, hashes.SHA256())
    )
    served.cert_file.write_bytes(issued.public_bytes(serialization.Encoding.PEM))
    return Authority(authority.cert_file, served)
