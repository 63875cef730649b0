"""Diagnosis of a machine for `loyalty-agent doctor`. Read-only, with or without a running agent.

A `check_...` function looks at one thing and returns a `Check`: verdict, finding, advice.
`checkup.run_checks` calls them in order.
"""
