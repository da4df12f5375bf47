"""Files that clients send in parts: received, counted against the quota, and given to a worker."""
