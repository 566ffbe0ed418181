"""One module for each foreign layout, found by being in this folder; its name is the layout's."""
