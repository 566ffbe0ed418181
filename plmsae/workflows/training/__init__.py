"""Parts of training and importing: plans, activations and their cache, measurements, outcomes."""
