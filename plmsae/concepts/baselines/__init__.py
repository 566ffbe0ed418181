"""What an SAE has to beat, measured by the same protocol."""
