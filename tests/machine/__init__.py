"""The package on a real Debian with systemd as its init, and its power cut.

Needs root, systemd-container, e2fsprogs, strace and faketime; run before each release with
`python -m pytest -m machine -s`. The machine is this one's file system under a layer of its
own, with a kernel's view, an init and a network of its own (systemd-nspawn).
"""
