"""Sparse autoencoders: architectures, kernels, trainer, metrics, checkpoint formats."""
