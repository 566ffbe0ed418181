"""Set one latent to a value: the intervention of InterPLM.

Residue activations are what the SAE reconstructs and an error, x = SAE(x) + e. The latent is set in
the code, the code is decoded, and e is put back (Simon & Zou 2025, Methods, "Steering
experiments"): x' = decode(code with the latent set) + e. So a latent set to the value that it has
changes nothing, however bad the reconstruction is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from plmsae.sae.base import Sae
from plmsae.sae.sparse_code import SparseCode, row_offsets


def clamp_code(code: SparseCode, latent: int, value_M: Tensor) -> SparseCode:
    """Return a code of M rows in which `latent` has the values `value_M`, active there or not.

    No other latent is dropped: a TopK code may then have k + 1 active ones.
    """
    others = code.indices != latent
    rows = torch.arange(code.n_rows, device=code.indices.device)
    row = torch.cat([code.rows()[others], rows])
    order = torch.argsort(row, stable=True)
    values = torch.cat([code.values[others], value_M.to(code.values)])
    indices = torch.cat([code.indices[others], torch.full_like(rows, latent)])
    return SparseCode(values[order], indices[order], row_offsets(row[order], code.n_rows))


def latent_values(code: SparseCode, latent: int) -> Tensor:
    """Return the activation of one latent in each row, (M,); 0 where it is not active."""
    found = code.indices == latent
    value_M = torch.zeros(code.n_rows, dtype=code.values.dtype, device=code.values.device)
    value_M[code.rows()[found]] = code.values[found]
    return value_M


def clamp(sae: Sae, x_MD: Tensor, latent: int, value: float | Tensor) -> Tensor:
    """Return residue activations in which a latent is set to a value.

    Parameters
    ----------
    x_MD : Tensor, dtype=float32, shape (M, D)
        Raw residue activations.
    value : float or Tensor, shape (M,)
        Raw activation, not a share of the latent's maximum.

    Returns
    -------
    Tensor, dtype=float32, shape (M, D)
    """
    code = sae.encode(x_MD)
    value_M = torch.as_tensor(value, dtype=torch.float32, device=x_MD.device).expand(len(x_MD))
    error_MD = x_MD - sae.decode(code, x_MD)
    return sae.decode(clamp_code(code, latent, value_M), x_MD) + error_MD
