"""Where the parts of a run are scored: `local`, in this process."""
