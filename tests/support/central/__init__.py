"""Scripted head office: speaks both protocols correctly by default and fails on request."""

from tests.support.central.fault_server import FaultServer, Request
from tests.support.central.faults import Answer, Fault
from tests.support.central.ledger import Record
from tests.support.central.scripted import ScriptedCentral

__all__ = ["Answer", "Fault", "FaultServer", "Record", "Request", "ScriptedCentral"]
