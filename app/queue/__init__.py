"""Jobs as the workers see them: claimed under leases, ended, tried again."""
