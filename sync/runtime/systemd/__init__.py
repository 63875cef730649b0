"""systemd integration: socket activation, readiness and watchdog. Inactive without systemd.

systemd > sockets.py  > inherited listening sockets
writer  > watching.py > notify.py > systemd: ready, alive, stopping
"""
