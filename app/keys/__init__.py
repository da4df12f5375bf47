"""Tenants, API keys and login links."""
