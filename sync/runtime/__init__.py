"""Parts that every process needs: settings, logging, listener, scheduler, systemd."""
