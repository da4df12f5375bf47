"""Users' own sets: uploaded, taken in, named by jobs, deleted."""
