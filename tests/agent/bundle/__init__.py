"""The support bundle: what is in it, and what never is."""
