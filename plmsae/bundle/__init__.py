"""The folder that is registered: its tables, metadata, model card, and how it is read safely."""
