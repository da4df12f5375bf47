"""Networks that are trained before a run needs them, and kept for other runs."""
