"""Written reports on features, from evidence."""
