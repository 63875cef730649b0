"""A till as a program: what it says on the wire, and crowds of them for benches and crash tests."""
