"""Message catalogues of the agent; language negotiation for browsers and terminals."""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from sync.runtime.i18n import DEFAULT, Language, code_of_locale, load_languages, negotiate

_DIRECTORY = Path(__file__).parent


@cache
def languages() -> Mapping[str, Language]:
    """Return all languages by code, the default first."""
    return load_languages(_DIRECTORY)


def english() -> Language:
    """Return the language of everything that programs read."""
    return languages()[DEFAULT]


def language_of_request(accepted: str) -> Language:
    """Return the best language for an `Accept-Language`."""
    return negotiate(languages(), "", accepted)


def language_of_terminal(variables: Mapping[str, str] | None = None) -> Language:
    """Return the language of the locale; English for `C`, `POSIX` and unknown ones."""
    found = os.environ if variables is None else variables
    return languages().get(code_of_locale(found), english())
