"""Exercises that grade themselves: student copies, a sandbox for what students wrote, checks, reports."""
