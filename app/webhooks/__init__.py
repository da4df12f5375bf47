"""Webhooks: addresses of a tenant's that are told what happens, signed, until they have heard it."""
