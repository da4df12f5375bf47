"""Sets that others made: uploaded, scored, and ranked beside those of jobs."""
