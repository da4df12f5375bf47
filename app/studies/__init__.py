"""Studies: searches over many jobs."""
