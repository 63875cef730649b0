"""Checks of the systemd units that need no running systemd."""
