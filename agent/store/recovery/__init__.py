"""Salvages the readable captures of a quarantined database."""
