"""Severity order of findings."""

from hypothesis import given
from hypothesis import strategies as st

from sync.runtime.checks.check import Check, Verdict, worst

CHECKS = st.builds(Check, st.text(), st.sampled_from(Verdict), st.text())


def test_worst_of_no_findings_is_pass() -> None:
    assert worst([]) is Verdict.PASS


@given(st.lists(CHECKS, min_size=1))
def test_worst_is_the_maximum_severity(checks: list[Check]) -> None:
    severity = [Verdict.PASS, Verdict.WARNING, Verdict.FAULT]
    found = [severity.index(check.verdict) for check in checks]
    assert severity.index(worst(checks)) == max(found)
