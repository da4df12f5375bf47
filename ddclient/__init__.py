"""ddclient."""
