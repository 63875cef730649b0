"""An agent in a scratch directory that misbehaves on request: `loyalty-agent sandbox`.

A real agent process answers; a proxy in front of it loses, delays and replaces answers. The agent
that serves a store imports none of this (an import contract).
"""
