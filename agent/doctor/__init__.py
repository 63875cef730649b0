"""Diagnosis of a machine for `loyalty-agent doctor`. Read-only, with or without a running agent.

Reading and judging are separate: a `look_at_...` function reads the machine and returns facts,
a `judge_...` function is pure and turns facts into a `Check`.
"""

from agent.doctor.check import Check, Verdict, worst
from agent.doctor.checkup import CONFIGURATION, Instruments, Show, run_checks

__all__ = ["CONFIGURATION", "Check", "Instruments", "Show", "Verdict", "run_checks", "worst"]
