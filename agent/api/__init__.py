"""HTTP API of the agent: parses requests, hands captures to the store, writes the answers."""
