"""Claude as the author of descriptions and as the one who is asked to predict by them."""
