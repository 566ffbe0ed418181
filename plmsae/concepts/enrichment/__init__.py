"""Terms of whole proteins that the proteins of a latent share."""
