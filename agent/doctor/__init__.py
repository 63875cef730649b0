"""Diagnosis of a machine for `loyalty-agent doctor`. Read-only, with or without a running agent.

Facts and verdicts are separate: functions named `read_...`, `find_...` or `measure_...` look at the
machine and return facts; a `check_...` function turns facts into a `Check` and is pure where that
is possible. `checkup.run_checks` calls them in order.
"""
