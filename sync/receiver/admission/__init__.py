"""Admission: decides which requests are served now, and receives their bodies within bounds."""
