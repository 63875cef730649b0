"""Web pages of head office: fleet, store, session, history.

Read-only; no query here selects an e-mail address.
"""
