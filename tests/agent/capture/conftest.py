"""Settings of the properties."""

from hypothesis import settings

# A loaded machine is no fault of a rule; the suite as a whole has its bound.
settings.register_profile("rules", deadline=None)
settings.load_profile("rules")
