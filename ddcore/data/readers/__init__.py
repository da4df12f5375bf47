"""Readers of datasets, one layout a file."""
