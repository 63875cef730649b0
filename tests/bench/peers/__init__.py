"""The servers that the agent is measured beside."""
