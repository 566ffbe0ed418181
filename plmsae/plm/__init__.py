"""Protein language models: load, tokenize, run up to layer L."""
