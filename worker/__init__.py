"""Celery workers: they claim jobs, run the engine in a child process and record what it reports."""
