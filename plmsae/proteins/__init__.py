"""Proteins in: FASTA, UniProt tables, ontologies, splits and simulated proteomes."""
