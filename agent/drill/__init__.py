"""A rehearsal of a day with real parts in a scratch directory: `loyalty-agent drill`.

Three tills, an agent and a receiver in processes of their own, and a line between them that
can be cut. What the tills were promised is held against what head office then has.
"""

from agent.drill.day import DAY, FAST, Length, rehearse
from agent.drill.parts import PartFailed
from agent.drill.verdict import Verdict

__all__ = ["DAY", "FAST", "Length", "PartFailed", "Verdict", "rehearse"]
