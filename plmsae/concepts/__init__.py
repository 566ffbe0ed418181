"""What features mean: labels, association, enrichment, probes, calibration."""
