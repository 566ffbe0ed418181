"""The atlas: a static site of a model's latents and of proteins seen through them."""
