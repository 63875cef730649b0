"""What people see of head office in a browser: the fleet, a store, a session.

A page is a read: nothing here writes, and no address is ever looked at.
"""
