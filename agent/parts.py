"""Builds parts of the agent from its settings: store, outbox, uplink, API access."""

import logging
import secrets
import uuid
from collections.abc import Awaitable, Callable

from agent.api.access import Access
from agent.api.context import Identity
from agent.capture.session_answer import SessionAnswers
from agent.config import Settings
from agent.config.settings import ApiSettings
from agent.facts import Timestamp
from agent.store.files.disk_space import SpaceLimits
from agent.store.files.lock import StorageLock
from agent.store.open import StoreOpener
from agent.store.outbox.outbox import StoreOutbox
from agent.store.recovery.salvage import Salvage
from agent.store.retention.retention import RetentionDays
from agent.store.store import StoreEnvironment
from agent.store.writer import Writer
from agent.uplink.shared_name import SharedName
from agent.uplink.terms_sync import ProgramTermsSync
from agent.uplink.uplink import UplinkDependencies
from sync.protocol.program_terms import ProgramTerms
from sync.protocol.terms_check import find_fault
from sync.runtime.identity import installed_version
from sync.runtime.logging import log_event
from sync.runtime.retention_clock import CLOCK_FILE, RetentionClock
from sync.runtime.scheduler import Scheduler
from sync.runtime.settings.files_in_use import FilesInUse
from sync.runtime.start import Rejected

_log = logging.getLogger(__name__)
_ADMIN_TOKEN = "api.admin_token_file"  # noqa: S105 - the setting


def new_id() -> str:
    """Return a random UUID."""
    return str(uuid.uuid4())


def configured_terms(settings: Settings) -> ProgramTerms:
    """Return the terms of `[program]`; a fault is logged only, so that tills are always served."""
    terms = settings.program.terms()
    if fault := find_fault(terms):
        log_event(_log, logging.WARNING, "terms.doubtful", field=fault.field, reason=fault.reason)
    return terms


def build_identity(
    settings: Settings, now: Callable[[], Timestamp], rejected: Rejected | None
) -> Identity:
    """Return the identity that the status page shows."""
    return Identity(
        version=installed_version(),
        store_id=settings.store.store_id,
        till_id=settings.store.till_id,
        started_at_us=now().wall_us,
        storage_directory=str(settings.storage.directory),
        central_url=settings.central.url,
        central_protocol=settings.central.protocol,
        delivered_days=settings.retention.delivered_days,
        rejected_configuration=rejected,
        certificates=settings.own_certificates,
    )


def build_access(api: ApiSettings, files: FilesInUse, rejected: Rejected | None) -> Access:
    """Return the access rules of the API. Raises `ConfigurationError` if a token is unusable.

    If the admin token of a rejected configuration cannot be read, no token is accepted for it.
    """
    admin_token = files.secret(api.admin_token_file, _ADMIN_TOKEN)
    if rejected and _ADMIN_TOKEN in rejected.in_use.lost_guards:
        nobodys = secrets.token_urlsafe()
        admin_token = lambda: nobodys  # noqa: E731 - as the one above
    return Access(
        allowed_hosts=frozenset({*api.allowed_hosts, api.host}),
        cors_origins=frozenset(api.cors_origins),
        token=files.secret(api.token_file, "api.token_file"),
        admin_token=admin_token,
    )


def build_opener(
    settings: Settings, now: Callable[[], Timestamp], boot_id: str, lock: StorageLock
) -> StoreOpener:
    """Return the opener of the store, which the writer calls."""
    storage = settings.storage
    return StoreOpener(
        directory=storage.directory,
        key_file=storage.encryption_key_path,
        limits=SpaceLimits(storage.max_bytes, storage.min_free_bytes, storage.ballast_bytes),
        environment=StoreEnvironment(
            now_us=lambda: now().wall_us, new_epoch=new_id, boot_id=boot_id
        ),
        renew_lock=lock.renew,
    )


def build_outbox(
    settings: Settings, writer: Writer, now: Callable[[], Timestamp], boot_id: str
) -> StoreOutbox:
    """Return the outbox of the store that `writer` has."""
    retention = settings.retention

    def clocks() -> tuple[int, int]:
        at = now()
        return at.wall_us, at.monotonic_us

    return StoreOutbox(
        writer,
        settings.storage.directory,
        settings.storage.encryption_key_path,
        RetentionDays(retention.delivered_days, retention.email_days_after_delivery),
        now_us=lambda: now().wall_us,
        agent_version=installed_version(),
        retention_clock=RetentionClock(settings.storage.directory / CLOCK_FILE, boot_id, clocks),
    )


def build_uplink(
    settings: Settings,
    outbox: StoreOutbox,
    answers: SessionAnswers,
    schedule: Scheduler,
    now: Callable[[], Timestamp],
    boot_id: str,
    is_closing: Callable[[], Awaitable[bool]],
) -> UplinkDependencies:
    """Return the dependencies of delivery, with salvage, program terms and shared name."""
    storage = settings.storage

    def now_us() -> int:
        return now().wall_us

    return UplinkDependencies(
        settings=settings,
        outbox=outbox,
        salvage=Salvage(outbox.access, storage.directory, storage.min_free_bytes),
        terms=ProgramTermsSync(answers, outbox.access, now_us, installed_version()),
        shared_name=SharedName(outbox.access, storage.directory, boot_id, now_us),
        schedule=schedule,
        now=now,
        boot_id=boot_id,
        is_closing=is_closing,
    )
