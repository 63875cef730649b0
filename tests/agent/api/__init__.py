"""The till API on real sockets and real files."""
