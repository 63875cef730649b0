"""Contracts of the ports of delivery."""
