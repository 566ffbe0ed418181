"""Which residues and proteins carry which concept, and what a table may lack."""
