"""Links, paths and test commands in all documents lead to something that exists."""

import re
from pathlib import Path

import pytest

from tests.__main__ import NOT_FAST
from tests.support.processes import ROOT

DOCUMENTS = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/*.md"),
    *ROOT.glob("agent/**/DESIGN.md"),
    *ROOT.glob("sync/**/DESIGN.md"),
]
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
PATH = re.compile(r"`((?:agent|sync|tests|docs|systemd)/[\w./-]*)`")
ANCHOR = re.compile(r"\]\(([^)#:]*#[^)]+)\)")
TEST = re.compile(r"`(tests/[\w/]+\.py::\w+)`")
MARKER = re.compile(r"pytest -m (\w+)")
MODULE = re.compile(r"python -m (tests[\w.]*)")


def found(pattern: re.Pattern[str]) -> list[tuple[Path, str]]:
    return [
        (document.relative_to(ROOT), match)
        for document in sorted(DOCUMENTS)
        for match in sorted(set(pattern.findall(document.read_text("utf-8"))))
    ]


@pytest.mark.parametrize(("document", "link"), found(LINK))
def test_linked_file_exists(document: Path, link: str) -> None:
    assert (ROOT / document.parent / link).exists()


@pytest.mark.parametrize(("document", "link"), found(ANCHOR))
def test_linked_heading_exists(document: Path, link: str) -> None:
    file, _, anchor = link.partition("#")
    target = ROOT / document.parent / file if file else ROOT / document
    headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
    # GitHub's rule: lower case, without punctuation, a hyphen for each space.
    assert anchor in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize(("document", "path"), found(PATH))
def test_path_in_a_document_exists(document: Path, path: str) -> None:
    del document
    assert (ROOT / path).exists()


@pytest.mark.parametrize(("document", "test"), found(TEST))
def test_test_in_a_document_exists(document: Path, test: str) -> None:
    del document
    file, _, name = test.partition("::")
    source = (ROOT / file).read_text("utf-8")
    assert re.search(rf"^ *(async )?def {name}\(", source, re.MULTILINE)


@pytest.mark.parametrize(("document", "marker"), found(MARKER))
def test_marker_in_a_document_exists(document: Path, marker: str) -> None:
    del document
    assert marker in NOT_FAST


@pytest.mark.parametrize(("document", "module"), found(MODULE))
def test_module_in_a_document_can_be_run(document: Path, module: str) -> None:
    del document
    path = ROOT / module.replace(".", "/")
    assert (path / "__main__.py").exists() or path.with_suffix(".py").exists()
