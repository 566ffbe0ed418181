"""What a simulated proteome is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from plmsae.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SimulateConfig:
    """Settings of `simulate`; equal settings give equal bytes.

    Raises
    ------
    InputError
        If a value is out of its range; the message names the field.
    """

    n_families: int = 60
    """Number of homologous families; each is one cluster, wholly `train` or wholly `heldout`."""

    proteins_per_family: int = 20
    """Members of every family."""

    seed: int = 0
    """Family i of a seed is the same whatever `n_families` is."""

    heldout_fraction: float = 0.3
    """Share of the families held out, in [0, 1); their labels cannot have been memorised."""

    hidden_fraction: float = 0.3
    """Share of the labels hidden among the proteins `hide_in` names, in [0, 1]. What is hidden at
    once is everything one motif or domain gave one protein: a protein lacks the label or has it."""

    hide_in: Literal["heldout", "anywhere"] = "heldout"
    """Hide labels of held-out families only, or of any protein at random."""

    min_length: int = 80
    """Residues of the shortest protein, at least 30."""

    max_length: int = 600
    """Residues of the longest protein, at least 320 so that every architecture fits."""

    divergence: float = 2.0
    """Proposed changes a site from a family's ancestor to each member. At the default two members
    share about half of their residues; selection holds motifs and cores."""

    rate_shape: float = 0.8
    """Shape α of the gamma distribution of rates over sites; small is uneven."""

    indel_rate: float = 0.04
    """Insertions and deletions for each proposed change of a site in linkers and loops."""

    motif_loss: float = 0.1
    """Chance that a motif is lost in a part of its family: homologues that lack the label."""

    decoys: float = 0.8
    """Mean number of decoys an ancestor carries: stretches that look like a motif and are not."""

    def __post_init__(self) -> None:
        def need(condition: bool, field: str, rule: str) -> None:
            if not condition:
                raise InputError(
                    f"{field} must be {rule}", where="simulate", value=str(getattr(self, field))
                )

        need(self.n_families >= 1, "n_families", "at least 1")
        need(self.proteins_per_family >= 1, "proteins_per_family", "at least 1")
        need(self.seed >= 0, "seed", "at least 0")
        need(0 <= self.heldout_fraction < 1, "heldout_fraction", "in [0, 1)")
        need(0 <= self.hidden_fraction <= 1, "hidden_fraction", "in [0, 1]")
        need(self.hide_in in ("heldout", "anywhere"), "hide_in", "'heldout' or 'anywhere'")
        need(self.max_length >= 320, "max_length", "at least 320")
        need(
            30 <= self.min_length <= self.max_length - 100,
            "min_length",
            f"from 30 to max_length - 100 ({self.max_length - 100})",
        )
        need(0 <= self.divergence <= 20, "divergence", "in [0, 20]")
        need(0 < self.rate_shape <= 100, "rate_shape", "in (0, 100]")
        need(0 <= self.indel_rate <= 1, "indel_rate", "in [0, 1]")
        need(0 <= self.motif_loss <= 1, "motif_loss", "in [0, 1]")
        need(0 <= self.decoys <= 20, "decoys", "in [0, 20]")
