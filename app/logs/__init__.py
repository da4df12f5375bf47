"""The log of a job, which grows while it runs."""
