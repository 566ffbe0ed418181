"""One module for each export format, found by being in this folder; its name is the format's."""
