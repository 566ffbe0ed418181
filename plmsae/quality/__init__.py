"""Quality gates on input, models, annotations, proposals and evidence."""
