"""Foreign SAE checkpoints, one small file for each layout; `dispatch.import_sae` is the entry."""
