"""plmsae: sparse autoencoders for protein language models, tracked and registered in MLflow."""

__version__ = "0.1.0"
