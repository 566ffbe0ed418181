"""Batch scoring of proteomes and filling of missing labels."""
