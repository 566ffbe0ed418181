"""Parts of evaluating: labelled proteins, baselines, calling, fidelity, outcomes."""
