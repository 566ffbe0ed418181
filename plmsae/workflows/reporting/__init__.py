"""Parts of `plmsae report`."""
