"""Health, workers and who is asking."""
