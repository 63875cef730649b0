"""Scripted head office: speaks both protocols correctly by default and fails on request."""

from tests.central.central import ScriptedCentral
from tests.central.door import Door, Request
from tests.central.faults import Answer, Fault
from tests.central.ledger import Record

__all__ = ["Answer", "Door", "Fault", "Record", "Request", "ScriptedCentral"]
