"""Failure drill with real processes in a temporary directory: `loyalty-agent drill`.

Three simulated tills, an agent process, a receiver process, and a TCP proxy between them that
can be cut. At the end the tills' receipts are compared with the receiver's tables.
"""
