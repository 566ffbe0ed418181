"""One small class for each way of choosing the active latents."""
