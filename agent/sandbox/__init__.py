"""An agent in a scratch directory that misbehaves on request: `loyalty-agent sandbox`.

A real agent process answers; the front before it loses, delays and replaces answers. The agent
that serves a store has none of this code (an import contract holds it so).
"""
