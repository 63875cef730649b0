"""Manual pages and shell completion, generated from the commands when the package is built."""
