"""MLflow runs: settings, metrics, artifacts, and the store they are kept in."""
