"""Tests of the redaction of e-mail addresses."""
