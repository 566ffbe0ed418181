"""Which latent fires where which concept is: counts, choice of pairs, and how sure it is."""
