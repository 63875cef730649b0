"""The units and what builds the package, checked without a machine that runs systemd."""
