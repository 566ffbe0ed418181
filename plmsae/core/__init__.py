"""What every other package may use: errors, atomic writes, fingerprints, shipped files."""
