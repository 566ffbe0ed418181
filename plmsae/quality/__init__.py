"""Data-quality gates on inputs, annotations and proposals."""
