"""Diagnosis of head office for `loyalty-hq doctor` and `check-config`. Changes nothing."""
