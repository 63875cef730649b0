"""`loyalty-agent doctor`: looks at what the agent needs, and says what to do; changes nothing.

Looking and judging are apart: a `look_at_...` reads the machine and returns facts, a
`judge_...` makes of facts a `Check` and touches nothing. All of it runs beside an agent as
well as without one.
"""

from agent.doctor.check import Check, Verdict, worst
from agent.doctor.checkup import CONFIGURATION, Instruments, examine

__all__ = ["CONFIGURATION", "Check", "Instruments", "Verdict", "examine", "worst"]
