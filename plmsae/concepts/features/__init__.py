"""Properties of latents: shape along the chain, family specificity, splitting."""
