"""TLS of both programs: nothing is answered outside of it, and no old version is spoken."""

import asyncio
import ssl
import warnings
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeAlias

import pytest

from agent.service import running_agent
from sync.receiver.service import running_receiver
from sync.runtime.process import RunningService
from tests.support.agent.in_process import settings_in as agent_settings
from tests.support.certificates import Certificate, make_certificate
from tests.support.head_office.receiver import settings_in as receiver_settings
from tests.support.patience import PATIENCE_SECONDS

Running: TypeAlias = AbstractAsyncContextManager[RunningService]
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def agent_over_tls(directory: Path, certificate: Certificate) -> Running:
    files = {"tls_cert_file": certificate.cert_file, "tls_key_file": certificate.key_file}
    return running_agent(agent_settings(directory, api={"port": 0, **files}))


def head_office_over_tls(directory: Path, certificate: Certificate) -> Running:
    files = {"tls_cert_file": certificate.cert_file, "tls_key_file": certificate.key_file}
    return running_receiver(receiver_settings(directory, server={"port": 0, **files}))


BOTH = pytest.mark.parametrize("over_tls", [agent_over_tls, head_office_over_tls])
OverTls: TypeAlias = Callable[[Path, Certificate], Running]


async def answer_to_request(running: RunningService, tls: ssl.SSLContext | None) -> bytes:
    """Return what comes back for a request until the server closes the connection."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection(running.host, running.port, ssl=tls)
        writer.write(REQUEST)
        try:
            return await reader.read()
        finally:
            writer.close()


def client_trusting(certificate: Certificate, newest: ssl.TLSVersion) -> ssl.SSLContext:
    """Return a client that speaks no newer version, with every weak cipher that it has."""
    context = ssl.create_default_context(cafile=certificate.cert_file)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = newest
    return context


@BOTH
async def test_request_without_tls_gets_no_answer(tmp_path: Path, over_tls: OverTls) -> None:
    async with over_tls(tmp_path / "state", make_certificate(tmp_path)) as running:
        assert b"HTTP" not in await answer_to_request(running, None)


@BOTH
@pytest.mark.parametrize("old", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_old_version_of_tls_is_refused(
    tmp_path: Path, over_tls: OverTls, old: ssl.TLSVersion
) -> None:
    certificate = make_certificate(tmp_path)
    async with over_tls(tmp_path / "state", certificate) as running:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await answer_to_request(running, client_trusting(certificate, old))


@BOTH
@pytest.mark.parametrize("new", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_current_version_of_tls_is_accepted(
    tmp_path: Path, over_tls: OverTls, new: ssl.TLSVersion
) -> None:
    """Control case: the same client with a newer version."""
    certificate = make_certificate(tmp_path)
    async with over_tls(tmp_path / "state", certificate) as running:
        answer = await answer_to_request(running, client_trusting(certificate, new))

    assert answer.startswith(b"HTTP/1.1 200 ")


@BOTH
async def test_certificate_of_another_server_is_not_trusted_by_its_clients(
    tmp_path: Path, over_tls: OverTls
) -> None:
    other = make_certificate(tmp_path / "other")
    async with over_tls(tmp_path / "state", make_certificate(tmp_path)) as running:
        with pytest.raises(ssl.SSLCertVerificationError):
            await answer_to_request(running, client_trusting(other, ssl.TLSVersion.TLSv1_3))
