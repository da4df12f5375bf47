"""The form of a job: made from the JSON schemas of the specification, read into a submission, filled from one."""
