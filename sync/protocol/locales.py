"""Which language a session speaks: the three the platform supports, and who decides."""

from collections.abc import Iterable
from enum import StrEnum


class Locale(StrEnum):
    """The locales a session can have (`reference/start-anonymous-session.txt`)."""

    EN_CA = "en-CA"
    EN_US = "en-US"
    FR_CA = "fr-CA"


_BY_LOWER_CASE = {locale.value.lower(): locale for locale in Locale}


def first_valid_locale(candidates: Iterable[object]) -> Locale | None:
    """Return the first candidate that names a supported locale, letter case ignored.

    Anything else, `EN` and `FR` included, counts as not given and is never an error.
    """
    for candidate in candidates:
        if isinstance(candidate, str) and (found := _BY_LOWER_CASE.get(candidate.lower())):
            return found
    return None
