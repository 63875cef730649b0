"""Judges a till's manners in twelve situations on a sandbox: `loyalty-agent certify`.

`run` drives, `stage` decides on faults and keeps what passed, `judge` is pure.
"""
