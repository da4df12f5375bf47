"""What the machine offers: devices, arithmetic, free memory and disk, and the cache on it."""
