"""What every slice of the service stands on: settings, database, errors, security, pagination, logging."""
