"""What jobs took on this installation, and what new ones should take by it."""
