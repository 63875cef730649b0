"""Checks of a machine that both programs make: values, directories, ports, certificates, units."""
