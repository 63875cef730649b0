"""Checks of the settings: referenced files, store and till names, destination."""

from collections.abc import Iterator
from datetime import datetime

from agent.config import Settings
from agent.config.export_key import find_export_key_errors
from agent.config.settings import StoreSettings
from agent.doctor.start import find_key_errors
from agent.facts import unset_for_delivery
from sync.runtime.checks.certificate import describe_end
from sync.runtime.checks.check import Check, fault, passed, warning
from sync.runtime.checks.named_files import check_named_files
from sync.runtime.network.own_certificate import read_end

_STORE_AND_TILL, _DESTINATION = "store and till", "head office"
_CERTIFICATE = "own certificate"


def check_configuration(settings: Settings) -> Check:
    """Check the files that the settings name, except the storage directory (`directory`)."""
    errors = find_key_errors(settings.storage.encryption_key_path)
    of_exports = find_export_key_errors(settings.central.public_key_file)
    return check_named_files(settings, [*errors, *of_exports])


def check_certificates(settings: Settings, now: datetime) -> Iterator[Check]:
    """Judge the days until the certificates that the agent presents expire; none: no finding."""
    for file in settings.own_certificates:
        if (end := read_end(file)) is None:
            continue  # among the errors of the files
        described, is_soon, has_ended = describe_end(end, now)
        found = f"{file}: {described}"
        if has_ended:
            advice = "renew it: nobody who checks it connects. It is then used without a restart"
            yield fault(_CERTIFICATE, found, advice)
        elif is_soon:
            yield warning(_CERTIFICATE, found, "renew it: it is then used without a restart")
        else:
            yield passed(_CERTIFICATE, found)


def check_names(store: StoreSettings, *, delivers: bool) -> Check:
    """Judge if `store_id` and `till_id` are set; delivery needs them."""
    name = f"{store.till_id} in {store.store_id}"
    unset = unset_for_delivery(store.store_id, store.till_id, "given")
    if not unset:
        return passed(_STORE_AND_TILL, name)
    found = f"{unset}: captures are stored for {name}"
    if delivers:
        advice = "set the names of this machine at head office, which delivery needs"
        return fault(_STORE_AND_TILL, found, advice)
    advice = "set both before central.url, or: loyalty-agent join"
    return warning(_STORE_AND_TILL, found, advice)


def check_destination(url: str) -> Check:
    """Judge if captures have a destination."""
    if url:
        return passed(_DESTINATION, url)
    found = "central.url is not set: captures are kept here and sent nowhere"
    advice = "set central.url to deliver them to head office, or: loyalty-agent join"
    return warning(_DESTINATION, found, advice)
