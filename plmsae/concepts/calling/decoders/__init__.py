"""From activations of one latent or probe to spans: runs above a threshold, or segments."""
