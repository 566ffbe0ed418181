"""Foreign SAE checkpoints; `dispatch.import_sae` reads them, `formats` holds what it can read."""
