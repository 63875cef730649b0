"""The three supported locales, and the selection of a session's locale."""

from collections.abc import Iterable
from enum import StrEnum


class Locale(StrEnum):
    """Locales of a session (`reference/start-anonymous-session.txt`)."""

    EN_CA = "en-CA"
    EN_US = "en-US"
    FR_CA = "fr-CA"


_BY_LOWER_CASE = {locale.value.lower(): locale for locale in Locale}


def first_valid_locale(candidates: Iterable[object]) -> Locale | None:
    """Return the first candidate that is a supported locale, ignoring case.

    Any other value, `EN` and `FR` included, counts as absent and is not an error.
    """
    for candidate in candidates:
        if isinstance(candidate, str) and (found := _BY_LOWER_CASE.get(candidate.lower())):
            return found
    return None
