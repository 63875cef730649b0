"""Crash states: the disks that a power cut can leave, built from a recorded run of the agent.

recording (strace)  >  disk (synced and unsynced writes and names)  >  state  >  verdict
"""
