"""One function for each MLproject entry point, joining the modules below."""
