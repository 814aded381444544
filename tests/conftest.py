"""For all tests: how long one example takes says something about the machine, not about the code."""

from hypothesis import settings

settings.register_profile("course", deadline=None)
settings.load_profile("course")
