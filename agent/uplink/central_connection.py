"""Connection to central as configured: HTTP options, credentials and transport."""

import math
import random
import time
from datetime import UTC, datetime
from typing import assert_never

from agent.config import Settings
from agent.config.central import AuthKind, ClientAuth, Protocol, SyncSettings
from agent.uplink.terms_sync import ProgramTermsSync
from sync.delivery.outbox import BatchLimits
from sync.delivery.transport import Transport
from sync.delivery.transports.auth import Credentials, FixedHeader, NoCredentials, bearer
from sync.delivery.transports.batch.batch_transport import BatchTransport
from sync.delivery.transports.batch.documents import Sender
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpClient, HttpOptions
from sync.delivery.transports.oauth import ClientCredentials, OAuthClient
from sync.delivery.transports.replay.replay_transport import ReplayTransport
from sync.delivery.transports.short_retries import ShortRetries

# Lanes idle at the end of each window; the larger the window, the smaller that share.
_EVENTS_PER_LANE = 32
MAX_PAUSE_SECONDS = 60
# From one heartbeat to the next, so that no TLS handshake is needed for it; head office closes its
# end after 120 s. Of another backend nothing is known.
KEEP_ALIVE_SECONDS, BACKEND_KEEP_ALIVE_SECONDS = 90.0, 15.0


def http_options(settings: Settings, *, max_seconds: float = math.inf) -> HttpOptions:
    """Return the connection options; each request is limited to `max_seconds`."""
    central = settings.central
    is_batch = central.protocol is Protocol.BATCH
    return HttpOptions(
        timeout_seconds=min(settings.sync.timeout_seconds, max_seconds),
        connections=settings.sync.max_in_flight,
        ca_file=central.ca_file,
        client_cert_file=central.client_cert_file,
        client_key_file=central.client_key_file,
        proxy=central.proxy,
        proxy_user=central.proxy_user,
        proxy_password_file=central.proxy_password_file,
        keep_alive_seconds=KEEP_ALIVE_SECONDS if is_batch else BACKEND_KEEP_ALIVE_SECONDS,
    )


def credentials(settings: Settings, http: HttpClient) -> Credentials:
    """Return the credentials of `[central.auth]`; OAuth fetches its tokens through `http`."""
    auth = settings.central.auth
    match auth.kind:
        case AuthKind.BEARER if auth.token_file:
            return bearer(auth.token_file)
        case AuthKind.HEADER if auth.header_value_file:
            return FixedHeader(auth.header_name, auth.header_value_file)
        case AuthKind.OAUTH2 if auth.client_secret_file:
            client = OAuthClient(
                auth.token_url,
                auth.client_id,
                auth.client_secret_file,
                auth.scope,
                secret_in_form=auth.client_auth is ClientAuth.POST,
                parameters=auth.parameters,
            )
            return ClientCredentials(http, client, seconds_since_boot, utc_now)
        case _:
            return NoCredentials()


def transport(
    settings: Settings, client: CentralClient, sender: Sender, terms: ProgramTermsSync
) -> Transport:
    """Return the transport of the configured protocol."""
    sync, retries = settings.sync, ShortRetries(random.random)
    match settings.central.protocol:
        case Protocol.BATCH:
            limits = BatchLimits(sync.batch_events, window_bytes(sync))
            return BatchTransport(client, sender, retries, limits)
        case Protocol.REPLAY:
            limits = BatchLimits(sync.max_in_flight * _EVENTS_PER_LANE, window_bytes(sync))
            return ReplayTransport(
                client, retries, limits, max_in_flight=sync.max_in_flight, on_terms=terms.observe
            )
        case _:
            assert_never(settings.central.protocol)


def window_bytes(sync: SyncSettings) -> int:
    """Return the byte limit of a window; at a low bandwidth limit it bounds the pause after one."""
    if not sync.bandwidth_bytes_per_second:
        return sync.max_batch_bytes
    return min(sync.max_batch_bytes, sync.bandwidth_bytes_per_second * MAX_PAUSE_SECONDS)


def seconds_since_boot() -> float:
    """Return a monotonic clock that advances while the machine sleeps, unlike `time.monotonic`."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def utc_now() -> datetime:
    """Return the wall clock in UTC."""
    return datetime.now(UTC)
