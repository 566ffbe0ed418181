"""One module for each form of the feature reports, found by being in this folder."""
