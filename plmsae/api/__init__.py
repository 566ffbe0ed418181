"""The public Python API: a thin layer over models and workflows, offered by `plmsae` itself."""
