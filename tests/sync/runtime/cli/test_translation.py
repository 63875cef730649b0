"""Commands speak the language of the locale: catalogues that fit the sources, and their use."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from io import BytesIO, TextIOWrapper
from pathlib import Path
from string import Formatter

import pytest
import typer

from agent.cli import COMMANDS as AGENT_COMMANDS
from agent.cli import app as agent_commands
from sync.receiver.cli import COMMANDS as OFFICE_COMMANDS
from sync.receiver.cli import app as office_commands
from sync.runtime.cli.command_group import LazyCommand
from sync.runtime.cli.reference.commands import reference_of
from sync.runtime.cli.translation import SHARED, Catalogue, in_language, literals, read_texts
from tests.support.processes import ROOT

AGENT = ROOT / "agent" / "languages" / "commands"
HEAD_OFFICE = ROOT / "sync" / "receiver" / "cli" / "languages"
# Whose texts the commands print for people. A text of another module has its place there too, if
# one of these prints it: then the test of stale keys looks for it.
SPEAKING = {
    AGENT: [
        *("agent/cli/join/command.py", "agent/cli/join/first_delivery.py", "agent/cli/sync.py"),
        *("agent/cli/drill.py", "agent/cli/dead_letters.py", "agent/cli/doctor.py"),
        *("agent/cli/client.py", "agent/cli/certify", "agent/doctor", "agent/certify"),
        *("agent/cli/backup.py", "agent/cli/rotate_key.py", "agent/cli/export", "agent/export"),
        *("agent/cli/salvage.py", "agent/cli/support_bundle.py"),
        "agent/config/export_key.py",
        *("agent/joining", "agent/drill/scenario.py", "sync/protocol/join_code.py"),
    ],
    HEAD_OFFICE: [
        *("sync/receiver/cli/doctor.py", "sync/receiver/doctor", "sync/receiver/cli/backup.py"),
        *("sync/receiver/cli/carried", "sync/receiver/carried", "sync/protocol/bundle"),
    ],
    SHARED: [
        "sync/runtime/cli/program.py",
        "sync/runtime/cli/check_config.py",
        "sync/runtime/checks/units.py",
        "sync/runtime/files/sqlite_backup.py",
    ],
}
# Statements and documents for programs, wrong usage, and errors of the configuration.
NOT_SHOWN = re.compile(
    r"SELECT|GROUP BY|LIMIT|PRAGMA|IS NULL|Bearer|HTTP/1\.1|dev/block|bold red|AS t"
    r"|(^|\n)\s*(server|storage|store|api)[. ]|expected CODE|delivers under"
    r"|the file cannot be read as a certificate"
)
# A command to type, to the end of the text.
COMMAND = re.compile(
    r"(systemctl|journalctl|sudo|chown|chmod|head -c|loyalty-agent|loyalty-hq) .*", re.DOTALL
)
# Between clauses, which a text may be composed of; and words that a value brings with it.
BETWEEN = re.compile(r"[.:;,()?!\n\"'>\[\]]|MiB|ahead of|behind|^0 ")


def catalogue(directory: Path) -> dict[str, str]:
    return read_texts(directory / "fr.toml")


def sources(*paths: str) -> Iterator[Path]:
    for path in paths:
        found = ROOT / path
        yield from found.rglob("*.py") if found.is_dir() else [found]


def texts_of(file: Path) -> Iterator[str]:
    """Yield the texts in a source, those with values by their parts; no docstrings."""
    tree = ast.parse(file.read_text("utf-8"))
    without: set[ast.AST] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant() as constant):
                without.add(constant)
            case ast.Call(func=ast.Name(id="ValueError" | "TypeVar" | "cast" | "assert_never")):
                without.update(node.args)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in without:
            yield node.value


def clauses(text: str) -> Iterator[str]:
    """Yield the clauses of a text that are more than one word."""
    bare = (" ".join(clause.split()) for clause in BETWEEN.split(text))
    return (clause for clause in bare if " " in clause)


@cache
def all_texts() -> str:
    """Return all strings of both programs with docstrings, which are help texts, as one text."""
    trees = (ast.parse(file.read_text("utf-8")) for file in sources("agent", "sync"))
    nodes = (node for tree in trees for node in ast.walk(tree))
    texts = (str(node.value) for node in nodes if isinstance(node, ast.Constant))
    return " ".join(" ".join(text.split()) for text in texts)


@pytest.mark.parametrize("directory", [AGENT, HEAD_OFFICE, SHARED])
def test_each_translation_has_the_placeholders_of_its_english(directory: Path) -> None:
    def places(text: str) -> set[str]:
        return {name for _, name, _, _ in Formatter().parse(text) if name}

    wrong = {
        english
        for english, french in catalogue(directory).items()
        if places(english) != places(french)
    }

    assert wrong == set()


@pytest.mark.parametrize("directory", [AGENT, HEAD_OFFICE, SHARED])
def test_no_text_is_translated_that_the_programs_do_not_have(directory: Path) -> None:
    known = all_texts() + " ".join(HELP_OF_THE_LIBRARY)

    stale = {
        english
        for english in catalogue(directory)
        for part in literals(english)
        for clause in clauses(part)
        if clause not in known
    }

    assert stale == set()


HELP_OF_THE_LIBRARY = (
    *("Usage", "Options", "Commands", "Arguments", "required", "default", "Show this message"),
    "Show this message and exit",
)


@pytest.mark.parametrize("directory", [AGENT, HEAD_OFFICE, SHARED])
def test_each_text_that_a_command_shows_is_translated(directory: Path) -> None:
    translated = "\n".join(
        " ".join(english.split()) for one in SPEAKING for english in catalogue(one)
    )
    missing = {
        clause
        for file in sources(*SPEAKING[directory])
        for text in texts_of(file)
        if len(text.split()) > 2
        if not NOT_SHOWN.search(text)
        for clause in clauses(COMMAND.sub("", text))
        if clause not in translated
    }

    assert missing == set()


def test_groups_of_a_catalogue_hold_no_text_twice() -> None:
    for directory in (AGENT, HEAD_OFFICE, SHARED):
        groups = tomllib.loads((directory / "fr.toml").read_text("utf-8")).values()
        assert sum(map(len, groups)) == len(catalogue(directory))


TEXTS = {
    "{count} capture": "{count:n} saisie",
    "{count} captures": "{count:n} saisies",
    "{path} belongs to {owner}": "{path:s} appartient à {owner:s}",
    "still pending: {pending}; cause: {cause}": "en attente : {pending} ; cause : {cause}",
    "no network": "pas de réseau",
    "{till} in {store}": "{till:w} du magasin {store:w}",
    "Nothing was changed.": "Rien n'a été modifié.",
    "Run it again.": "Relancez-la.",
}


@pytest.mark.parametrize(
    ("english", "french"),
    [
        ("no network", "pas de réseau"),
        ("\n  no network", "\n  pas de réseau"),
        ("1,234 captures", "1 234 saisies"),
        (
            "still pending: 2 captures; cause: no network",
            "en attente : 2 saisies ; cause : pas de réseau",
        ),
        ("/no network belongs to no network", "/no network appartient à no network"),
        ("Nothing was changed. Run it again.", "Rien n'a été modifié. Relancez-la."),
        ("no network, 2 captures; others", "pas de réseau, 2 saisies; others"),
        ("a text of head office", "a text of head office"),
        ("{till} in {store}", "{till} du magasin {store}"),
        ("till-1 in 0042", "till-1 du magasin 0042"),
        ("It is in a file. Run it again.", "It is in a file. Relancez-la."),
        ("", ""),
    ],
)
def test_text_is_recognised_with_what_varies_in_it(english: str, french: str) -> None:
    assert Catalogue(TEXTS).translate(english) == french


@pytest.mark.parametrize("locale", ["C", "POSIX", "", "en_CA.UTF-8", "tlh", "../fr"])
def test_text_stays_english_in_other_locales(locale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    monkeypatch.setenv("LANG", "")
    monkeypatch.delenv("LC_MESSAGES", raising=False)

    assert in_language("Delivery is triggered.") == "Delivery is triggered."


def test_text_stays_english_on_a_stream_without_its_letters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LC_ALL", "fr_FR")
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(BytesIO(), "ascii"))
    monkeypatch.setattr(sys, "stderr", TextIOWrapper(BytesIO(), "utf-8"))
    text = "drill: 1 fault"

    assert in_language("1 fault") == "1 fault"
    assert in_language("1 fault", err=True) == "1 défaut"
    assert in_language(text) == text


def test_text_of_any_length_is_translated_in_time() -> None:
    """Texts of others pass as well: a till may put anything into them."""
    assert in_language(text := "a; b, c (d): " * 2_000) == text


def untranslated(text: str, texts: Mapping[str, str]) -> list[str]:
    """Return the sentences of a help text that stay as they are."""
    found = []
    for paragraph in (" ".join(one.split()) for one in text.split("\n\n")):
        translated = Catalogue(texts).translate(paragraph)
        sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z-])", paragraph)
        found += [one for one in sentences if len(one.split()) > 1 and one in translated]
    return found


OFFICE_TRANSLATED = {"doctor", "stores", "completeness", "keys", "import", "backup", "check-config"}


@pytest.mark.parametrize(
    ("app", "commands", "directory", "names"),
    [
        (agent_commands, AGENT_COMMANDS, AGENT, set(AGENT_COMMANDS)),
        (office_commands, OFFICE_COMMANDS, HEAD_OFFICE, OFFICE_TRANSLATED),
    ],
    ids=["loyalty-agent", "loyalty-hq"],
)
def test_each_help_text_is_translated(
    app: typer.Typer,
    commands: Mapping[str, LazyCommand],
    directory: Path,
    names: set[str],
) -> None:
    texts = catalogue(SHARED) | catalogue(directory)
    program = reference_of("program", app, commands)
    walked = [one for one in program.walk() if one.words[1:2] and one.words[1] in names]
    shown = [command.summary for command in commands.values()]
    for command in walked:
        shown += [command.summary, command.text]
        parameters = (*command.arguments, *command.options)
        shown += [re.sub(r"\s*\[[^\]]*\]$", "", one.text) for one in parameters]

    missing = [one for text in shown for one in untranslated(text, texts)]
    # The page of the manual says it for the library, whose own words are translated.
    assert set(missing) - {"Show the help."} == set()
