"""The drill: what it shows, and that its verdict finds what it is to find."""
