"""Simulated proteomes: families with conserved motifs whose every label is known.

`simulate` makes a labelled proteome, part of whose labels are hidden; `family_stream` makes endless
families of the same world for pretraining. What the world holds is declared in `motifs`,
`decoys`, `modules` and `domains`; how families come to be is in `families`, `evolution` and
`members`.
"""

from plmsae.proteins.simulate.config import SimulateConfig
from plmsae.proteins.simulate.proteome import family_stream, simulate
from plmsae.proteins.simulate.writing import SimulatedProteome

__all__ = ["SimulateConfig", "SimulatedProteome", "family_stream", "simulate"]
