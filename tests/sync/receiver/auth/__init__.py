"""Tests of authentication and enrolment."""
