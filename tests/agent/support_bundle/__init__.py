"""Tests of the support bundle: contents, redaction, archive, command."""
