"""One module for each way of choosing the active latents, found by being in this folder."""
