"""What a service says to systemd and takes from it, on real sockets."""
