"""Languages of the pages: their catalogues, and the one that a request asks for."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from sync.runtime import i18n
from sync.runtime.i18n import Language

_MESSAGES = Path(__file__).parent / "messages"


@cache
def languages() -> Mapping[str, Language]:
    """Return all languages by code, the default first."""
    return i18n.load_languages(_MESSAGES)


def negotiate(requested: str, accepted: str) -> Language:
    """Return the requested language, else the best of `Accept-Language`."""
    return i18n.negotiate(languages(), requested, accepted)
