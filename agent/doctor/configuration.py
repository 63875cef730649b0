"""Checks of the settings: referenced files, store and till names, destination."""

from agent.config import Settings
from agent.config.settings import StoreSettings
from agent.doctor.start import find_key_errors
from agent.facts import unset_for_delivery
from sync.runtime.checks.check import CONFIGURATION, Check, fault, passed, warning
from sync.runtime.settings.secret_files import find_file_errors

_STORE_AND_TILL, _DESTINATION = "store and till", "head office"


def check_configuration(settings: Settings) -> Check:
    """Check the files that the settings name, except the storage directory (`directory`)."""
    key = settings.storage.encryption_key_path
    if errors := [*find_file_errors(settings), *find_key_errors(key)]:
        advice = "fix the files or settings, and make the files readable for the agent's user"
        return fault(CONFIGURATION, "; ".join(map(str, errors)), advice)
    return passed(CONFIGURATION, "all settings are valid and all files are readable")


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
