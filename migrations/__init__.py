"""Alembic migrations, applied by ``python -m app.migrate``."""
