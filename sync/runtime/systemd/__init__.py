"""What a service and systemd say to each other; started by hand it neither hears nor says it.

systemd > sockets.py  > the sockets on which tills wait already
writer  > watching.py > notify.py > systemd: ready, alive, stopping
"""
