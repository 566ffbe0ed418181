"""Testing what is said of a feature: does it predict activations on proteins held back for that."""
