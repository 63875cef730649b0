"""Model of deferral: events that fail, each by a trouble of its own, among others that pass.

Real: the outbox on a file, the pass, the transports and the heartbeat. Scripted: head office and
the firewalls before it. A history is a list of steps; its first one names the protocol.
"""
