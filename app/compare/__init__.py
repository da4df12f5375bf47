"""Jobs side by side: what differs, what came of it, and their curves with seeds joined into bands."""
