"""`course bench`: what the course costs beside its peers, as ratios measured in one run."""

from course_lib.bench.run import PARTS, bench

__all__ = ["PARTS", "bench"]
