"""Numbers that a job reports while it runs."""
