"""The ways to central: both protocols over one line, with what proves who we are.

A `Line` carries a request and tells what became of it; a `Caller` adds credentials and sorts
out what every answer of every service can be; the transports know the protocols.
"""
