"""Help texts in the language of the locale. Manual pages are made from the English ones."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from typer._click.core import Context
from typer._click.formatting import HelpFormatter
from typer.core import TyperGroup

from sync.runtime.cli.translation import in_language

if TYPE_CHECKING:
    from typer._click import Command

# The suffix that the library appends to the help of an option: [default: 8480; required].
_EXTRAS = re.compile(r"\s*\[[^\]]*\]$")
_RANGE = re.compile(r"(?:(?P<least>-?[0-9.]+)<=)?x(?:<=(?P<most>[0-9.]+)|>=(?P<only>-?[0-9.]+))")
# The library's names of types, where a command gives no name of its own.
_NUMBER, _TEXT = re.compile(r"<(?:int|float)(?: range)?>"), re.compile(r"<(?:list\[)?str\]?>")


class TranslatedHelp(HelpFormatter):
    """Formats help in the language of the locale."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write the usage line."""
        prefix = in_language("Usage: ") if prefix is None else prefix
        super().write_usage(prog, args, prefix)

    def write_heading(self, heading: str) -> None:
        """Write a heading."""
        self.write(f"{'':>{self.current_indent}}{in_language(f'{heading}:')}\n")

    def write_text(self, text: str) -> None:
        """Write paragraphs."""
        paragraphs = (" ".join(one.split()) for one in text.split("\n\n"))
        super().write_text("\n\n".join(map(in_language, paragraphs)))

    def write_dl(
        self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Write commands or options with their help."""
        translated = [(_in_words(name), _translated(text)) for name, text in rows]
        super().write_dl(translated, col_max, col_spacing)


class TranslatedContext(Context):
    """A command's context whose help is in the language of the locale."""

    formatter_class = TranslatedHelp


def translate_help(command: "Command") -> None:
    """Make a command and those below it format their help in the language of the locale."""
    command.context_class = TranslatedContext
    for inner in command.commands.values() if isinstance(command, TyperGroup) else ():
        translate_help(inner)


def _translated(text: str) -> str:
    found = _EXTRAS.search(text)
    extras = found[0] if found else ""
    shown = _RANGE.sub(_range_in_words, extras)
    return in_language(text.removesuffix(extras)) + in_language(shown)


def _in_words(name: str) -> str:
    return _TEXT.sub("TEXT", _NUMBER.sub("N", name))


def _range_in_words(found: re.Match[str]) -> str:
    least, most, only = found.group("least", "most", "only")
    if most is None:
        return in_language(f"at least {only}")
    return in_language(f"at most {most}" if least is None else f"from {least} to {most}")
