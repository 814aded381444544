"""Judging results: scores, intervals, tests and figures that several notebooks share."""
