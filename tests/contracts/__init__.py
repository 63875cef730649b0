"""What has to hold whoever does it: each suite is run on every one that claims to."""
