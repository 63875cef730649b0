"""Contents and archive of `loyalty-agent support-bundle`: diagnostics without secrets."""
