"""Tests a till's manners in twelve situations on a sandbox: `loyalty-agent certify`.

`run` plays the situations, `situation_faults` injects their faults and records the requests,
`judge` has the rules (pure).
"""
