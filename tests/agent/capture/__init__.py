"""The capture rules, mostly by properties."""
