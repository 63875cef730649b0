"""Everything that can happen to the chain: one method a step of a history."""
