"""Language of output for people, by the locale.

Output for programs stays English: `--json`, output in a pipe, errors on standard error, help texts.
"""

import sys

from agent.languages.catalogue import english, language_of_terminal
from sync.runtime.i18n import Language

# Characters of the messages beyond ASCII.
_LETTERS = "«»àâçèéêîôùûÉÀ"


def language_of_output() -> Language:
    """Return the language of the locale; English in a pipe or without its letters."""
    if not sys.stdout.isatty():
        return english()
    try:
        _LETTERS.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return english()
    return language_of_terminal()


def plain_spaces(text: str) -> str:
    """Return `text` with spaces for no-break spaces, which a terminal may not show."""
    return text.replace("\u00a0", " ").replace("\u202f", " ")
