"""Layers that Keras lacks, or computes slowly on a CPU."""
