"""The top level of the project: what a newcomer sees first."""

from tests.support.processes import ROOT

BUILT = {"build", "dist"}


def test_only_the_two_programs_their_tests_and_samples_have_code_at_the_top() -> None:
    folders = [one for one in ROOT.iterdir() if one.is_dir() and not one.name.startswith(".")]

    with_code = {one.name for one in folders if any(one.glob("**/*.py"))} - BUILT

    assert with_code == {"agent", "sync", "tests", "docs"}
