"""What all commands use: requests, progress, and reading of inputs behind a quality gate."""
