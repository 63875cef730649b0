"""Manual pages (man(7)) of a program's commands and of its configuration file."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sync.runtime.cli.reference.commands import CommandReference, Parameter

_SECTION = re.compile(r"^(?:# )?\[+[\w.]+\]+$")
_SETTING = re.compile(r"^(?:# )?[\w-]+ = ")
# As they stand in a terminal; a line may be broken after a bar.
_MARKS = {
    "-": "\\-",
    '"': "\\(dq",
    "'": "\\(aq",
    "`": "\\(ga",
    "~": "\\(ti",
    "^": "\\(ha",
    "|": "|\\:",
}
_EXIT_CODES = (
    ("0", "Fine."),
    ("1", "Trouble found, or a failure."),
    ("2", "Wrong usage or a wrong configuration."),
)


@dataclass(frozen=True, slots=True)
class Edition:
    """Version and day, at the foot of each page."""

    version: str
    day: str


def command_page(command: CommandReference, program: CommandReference, edition: Edition) -> str:
    """Return the manual page of a command."""
    name = "-".join(command.words)
    lines = _head(name, 1, edition, command.summary.rstrip("."))
    lines += [".SH SYNOPSIS", f".B {_text(' '.join(command.words))}"]
    lines += [_text(command.usage)] if command.usage else []
    if command.text:
        lines += [".SH DESCRIPTION", *_paragraphs(command.text)]
    lines += _parameters("Arguments", command.arguments)
    lines += _parameters("Options", command.options)
    if command.commands:
        lines += [".SH COMMANDS"]
        for one in command.commands:
            lines += [".TP", f".BR {_text('-'.join(one.words))} (1)", _text(one.summary)]
    lines += [".SH EXIT STATUS"]
    for code, meaning in _EXIT_CODES:
        lines += [".TP", f".B {code}", meaning]
    lines += [".SH FILES", ".TP", f".I /etc/{_text(program.words[0])}/config.toml"]
    lines += ["The settings of the installed service, used without \\-\\-config."]
    return "\n".join([*lines, *_see_also(command, program)]) + "\n"


def configuration_page(program: str, example: str, edition: Edition) -> str:
    """Return the manual page of the settings, from the example that lists them all."""
    name = f"{program}-config"
    lines = [
        *_head(name, 5, edition, f"settings of {program}"),
        *(".SH SYNOPSIS", f".I /etc/{_text(program)}/config.toml"),
        ".SH DESCRIPTION",
    ]
    comment: list[str] = []
    for line in example.splitlines():
        if _SECTION.match(line):
            lines += [*_sentences(comment), f".SH {_text(line.removeprefix('# '))}"]
            comment = []
        elif _SETTING.match(line):
            lines += [".TP", f".B {_text(line)}", *_sentences(comment)]
            comment = []
        elif line.startswith("#"):
            comment.append(line.removeprefix("#").removeprefix(" "))
        elif not line and comment:
            lines += [*_sentences(comment), ".PP"]
            comment = []
    lines += _sentences(comment)
    lines += [".SH SEE ALSO", f".BR {_text(program)} (1)"]
    return "\n".join(_without_empty_paragraphs(lines)) + "\n"


def _head(name: str, section: int, edition: Edition, summary: str) -> list[str]:
    product = f"loyalty-agent {edition.version}"
    return [
        f'.TH {_text(name.upper())} {section} {edition.day} "{_text(product)}"',
        *(".nh", ".ad l"),
        ".SH NAME",
        f"{_text(name)} \\- {_text(summary)}",
    ]


def _parameters(title: str, parameters: Iterable[Parameter]) -> list[str]:
    lines: list[str] = []
    for one in parameters:
        lines += [".TP", f".B {_text(one.usage)}", _text(one.text) or "\\&"]
    return [f".SH {title.upper()}", *lines] if lines else []


def _see_also(command: CommandReference, program: CommandReference) -> list[str]:
    name = program.words[0]
    pages = [] if command is program else [f"{name} 1"]
    pages.append(f"{name}-config 5")
    parts = [page.split() for page in pages]
    commas = [","] * (len(parts) - 1) + [""]
    return [
        ".SH SEE ALSO",
        *(
            f".BR {_text(page)} ({section}){comma}"
            for (page, section), comma in zip(parts, commas, strict=True)
        ),
    ]


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        if number:
            yield ".PP"
        yield from (_text(line.strip()) for line in paragraph.splitlines())


def _sentences(lines: Iterable[str]) -> list[str]:
    """Fill lines as one paragraph, but for indented ones, which are examples."""
    filled: list[str] = []
    for line in lines:
        if line.startswith("  "):
            filled += [_text(line)] if filled[-1:] == [".PP"] else [".br", _text(line)]
        elif line.strip():
            filled += [_text(line)]
        elif filled:
            filled += [".PP"]
    return filled


def _without_empty_paragraphs(lines: list[str]) -> list[str]:
    """Drop a .PP that a heading or the end follows, or that follows a heading."""
    kept: list[str] = []
    for line, after in zip(lines, [*lines[1:], ".SH"], strict=True):
        if line == ".PP" and (after[:3] in (".SH", ".PP", ".TP") or kept[-1].startswith(".SH")):
            continue
        kept.append(line)
    return kept


def _text(text: str) -> str:
    """Return `text` for a line of a manual page: nothing in it is a request."""
    escaped = text.replace("\\", "\\e")
    for mark, name in _MARKS.items():
        escaped = escaped.replace(mark, name)
    return f"\\&{escaped}" if escaped.startswith((".", " ")) else escaped
