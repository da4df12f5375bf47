"""Who shares the service: tenants, their members, what they did and what they used."""
