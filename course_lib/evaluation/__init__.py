"""Judging results: figures that several notebooks and the app share."""
