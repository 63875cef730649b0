"""Certificates that a client trusts over TLS, the same with every Python."""

import ssl
from pathlib import Path


def trusting(ca_file: Path | None = None, ca_certificate: str | None = None) -> ssl.SSLContext:
    """Return a client's context that trusts these authorities, or those of the system if none.

    Private authorities often issue certificates without an Authority Key Identifier. OpenSSL, curl
    and browsers accept these; Python does not from 3.13 on, as it sets `VERIFY_X509_STRICT`. An
    upgrade of the operating system would cut off each till of such a chain. What that flag adds is
    the form of the certificate; signatures, names and times are verified without it.

    Raises `OSError` or `ValueError` if the certificates are unusable.
    """
    context = ssl.create_default_context(cafile=ca_file, cadata=ca_certificate)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
