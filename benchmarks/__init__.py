"""Each number that the documentation quotes, as a command: ``python -m benchmarks [NAME …]``."""
