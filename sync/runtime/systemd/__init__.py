"""systemd integration: socket activation, readiness and watchdog. Inactive without systemd."""
