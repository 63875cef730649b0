"""Kills, stops and starves real processes under load; compares their data with their answers."""
