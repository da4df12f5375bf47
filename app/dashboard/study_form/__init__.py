"""The form of a study: that of a job, with several values where a job has one, and what a study has beside it."""
