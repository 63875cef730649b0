"""How far the epochs of a till extend, which one is current, and how the others ended."""
