"""What happened to a job, in order."""
