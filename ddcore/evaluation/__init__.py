"""Scores of a synthetic set, its controls, and the probe that reads it as it is learned."""
