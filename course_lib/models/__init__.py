"""Builders of plain Keras models, the BiLSTM encoder and one file for each head, and the baselines."""
