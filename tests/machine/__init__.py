"""Machine tests: the package on Debian with systemd as init, power cuts included.

Need root, systemd-container, e2fsprogs, strace and faketime; run before each release with
`python -m pytest -m machine -s`. A machine is a systemd-nspawn container: this machine's file
system under an overlay, with its own namespaces, init and network.
"""
