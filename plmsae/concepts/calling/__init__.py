"""From activations to calls: thresholds, probes, spans, and calibrated precision."""
