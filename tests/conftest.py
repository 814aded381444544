"""For all tests: no deadline for one example, which would measure the machine, and a share of its cores."""

import os

from hypothesis import settings

from course_lib.process import thread_environment

settings.register_profile("course", deadline=None)
settings.load_profile("course")
# The workers of pytest-xdist share the cores; before any of them imports TensorFlow.
for name, value in thread_environment(int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))).items():
    os.environ.setdefault(name, value)
