"""Languages of the status page and of the commands: English and French."""
