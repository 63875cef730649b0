"""The net under everything that goes into a bundle: addresses, tokens and keys are taken out.

What goes in is chosen field by field, so that nothing secret should be there. This looks at it
all the same, and rather takes out too much than too little.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from sync.runtime.logging import masked

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_AT = r"(?:@|\uff20|\ufe6b|%(?:25)*40|\\u0040|\\x40|&#0*64;|&#x0*40;|&commat;|=40)"
# A local part in quotes may hold blanks (RFC 5321, 4.1.2); whatever else is around an @ goes too.
_QUOTED_ADDRESS = re.compile(rf'"[^"\n]*"{_AT}\S*', re.IGNORECASE)
_SIGN = re.compile(_AT, re.IGNORECASE)
# Word by word, so that a long one takes no long time.
_WORD = re.compile(r"\S+")
# What is shorter stands in any text by chance.
_SHORTEST_SECRET = 6


@dataclass(frozen=True, slots=True)
class Secrecy:
    """Knows this machine's `secrets`, longest first, beside what all of them look like."""

    secrets: tuple[str, ...] = ()

    @classmethod
    def of(cls, secrets: Iterable[str]) -> "Secrecy":
        """Return one that knows these secrets, as they are and in parts of more than one line."""
        parts = {part.strip() for secret in secrets for part in (secret, *secret.splitlines())}
        known = {part for part in parts if len(part) >= _SHORTEST_SECRET}
        return cls(tuple(sorted(known, key=len, reverse=True)))

    def clean(self, text: str) -> str:
        """Return `text` without secrets, tokens and addresses."""
        for secret in self.secrets:
            text = text.replace(secret, "[secret]")
        text = _QUOTED_ADDRESS.sub("[address]", text)
        return masked(_WORD.sub(_without_address, text))

    def clean_all(self, value: Json) -> Json:
        """Return `value` with every text in it, names included, made clean."""
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, list):
            return [self.clean_all(item) for item in value]
        if isinstance(value, dict):
            return {self.clean(name): self.clean_all(item) for name, item in value.items()}
        return value


def _without_address(word: re.Match[str]) -> str:
    return "[address]" if _SIGN.search(word[0]) else word[0]
