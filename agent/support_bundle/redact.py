"""Redaction of e-mail addresses, tokens and keys in the bundle.

Second line of defence: the collectors already pick harmless fields one by one. This pass errs on
the side of redacting too much.
"""

import re
from collections.abc import Iterable
from typing import TypeAlias

from sync.runtime.masking import mask_secrets

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_AT = r"(?:@|\uff20|\ufe6b|%(?:25)*40|\\u0040|\\x40|&#0*64;|&#x0*40;|&commat;|=40)"
# A quoted local part may hold blanks (RFC 5321, 4.1.2).
_QUOTED_ADDRESS = re.compile(rf'"[^"\n]*"{_AT}\S*', re.IGNORECASE)
_AT_SIGN = re.compile(_AT, re.IGNORECASE)
# Matched word by word: linear time for a long text.
_WORD = re.compile(r"\S+")
# A shorter secret would match arbitrary text by chance.
_SHORTEST_SECRET = 6


class Redactor:
    """Redacts `secrets`, each line of a multi-line one, and everything that looks like one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        parts = {part.strip() for secret in secrets for part in (secret, *secret.splitlines())}
        long_enough = {part for part in parts if len(part) >= _SHORTEST_SECRET}
        self._longest_first = sorted(long_enough, key=len, reverse=True)

    def redact(self, text: str) -> str:
        """Return `text` with secrets, tokens and addresses redacted."""
        for secret in self._longest_first:
            text = text.replace(secret, "[secret]")
        text = _QUOTED_ADDRESS.sub("[address]", text)
        return mask_secrets(_WORD.sub(_redact_address, text))

    def redact_all(self, value: Json) -> Json:
        """Return `value` with all strings and keys redacted, recursively."""
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, list):
            return [self.redact_all(item) for item in value]
        if isinstance(value, dict):
            return {self.redact(name): self.redact_all(item) for name, item in value.items()}
        return value


def _redact_address(word: re.Match[str]) -> str:
    return "[address]" if _AT_SIGN.search(word[0]) else word[0]
