"""MLflow loader module: a registered bundle as a model that takes sequences and gives annotations.

With ``loader_module="plmsae.scoring.pyfunc"``, MLflow calls `_load_pyfunc` with the folder of the
bundle. No code and no pickle come with the model: what runs is the installed plmsae.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plmsae.core.errors import InputError
from plmsae.scoring.encoding import ModelBundle, SequenceEncoder
from plmsae.scoring.in_memory import COLUMNS, annotate_proteins, proteins_in_memory

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from plmsae.proteins.records import Protein

__all__ = ["COLUMNS", "PyfuncModel"]

_PARAMS = ("min_precision", "per_sequence")


def _load_pyfunc(data_path: str) -> PyfuncModel:
    """Return the model of a bundle folder; MLflow's entry point."""
    from plmsae.bundle.reading import read_bundle

    return _ServedModel(read_bundle(Path(data_path)))


class PyfuncModel:
    """What MLflow wraps. The PLM and the SAE are loaded at the first prediction.

    Parameters
    ----------
    encoder : SequenceEncoder, optional
        Instead of the bundle's own PLM and SAE.
    """

    def __init__(self, bundle: ModelBundle, encoder: SequenceEncoder | None = None) -> None:
        self._bundle = bundle
        self._encoder = encoder

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Annotate sequences.

        Parameters
        ----------
        model_input : pandas.DataFrame, mapping, or iterable
            Column ``sequence`` and, optionally, ``accession``; a protein without one is named by
            its 1-based row. Or the sequences alone, as a list or an array of str.
        params : mapping, optional
            ``min_precision`` (float): leave out annotations whose ``precision_low`` is less, or was
            never measured; 0 keeps all that were measured; by default the bundle's own.
            ``per_sequence`` (bool): return one row for each sequence, as Spark's functions must.

        Returns
        -------
        pandas.DataFrame
            `COLUMNS`, one row per annotation, in the order of the input; positions are 1-based
            inclusive. With ``per_sequence``, one row for each sequence with one column,
            ``annotations``: a JSON list of those rows, without ``accession``.

        Raises
        ------
        InputError
            If the column is missing, a sequence cannot be scored, or a parameter is unknown.
        """
        proteins = _read_input(model_input)
        if self._encoder is None:
            from plmsae.scoring.encoding import load_encoder

            self._encoder = load_encoder(self._bundle)
        params = params or {}
        if unknown := sorted(set(params) - set(_PARAMS)):
            raise InputError(
                "unknown parameter", value=unknown[0], hint=f"known: {', '.join(_PARAMS)}"
            )
        if per_sequence := bool(params.get("per_sequence")):
            # Accessions need not differ from one another.
            proteins = [replace(p, accession=str(row)) for row, p in enumerate(proteins)]
        rows = annotate_proteins(
            self._bundle, self._encoder, proteins, min_precision=params.get("min_precision")
        )
        if per_sequence:
            return _one_row_each(rows, len(proteins))
        # By way of plain lists: pandas would otherwise hold arrays in the cells of `latents`.
        return _to_pandas(rows.to_dict(as_series=False))


class _ServedModel(PyfuncModel):
    """A `PyfuncModel` that tells MLflow what is wrong with an input.

    MLflow's server answers an `MlflowException` with its message, and any other exception with a
    stack trace.
    """

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Annotate sequences; see `PyfuncModel.predict`.

        Raises
        ------
        MlflowException
            With the code ``BAD_REQUEST``, where `PyfuncModel.predict` raises `InputError`.
        """
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import BAD_REQUEST

        try:
            return super().predict(model_input, params)
        except InputError as error:
            raise MlflowException(str(error), error_code=BAD_REQUEST) from error


def _read_input(model_input: Any) -> list[Protein]:
    import pandas as pd

    if isinstance(model_input, str):
        model_input = [model_input]
    if isinstance(model_input, Mapping) or any(isinstance(x, Mapping) for x in model_input):
        try:
            model_input = pd.DataFrame(model_input)
        except ValueError as error:
            raise InputError(
                "the input is no table",
                hint="give lists of equal lengths under 'sequence' and 'accession'",
            ) from error
    if not isinstance(model_input, pd.DataFrame):
        return proteins_in_memory(model_input)
    if "sequence" not in model_input.columns:
        raise InputError(
            "the input has no column 'sequence'", value=", ".join(map(str, model_input.columns))
        )
    names: list[Any] | None = None
    if "accession" in model_input.columns:
        # Whoever read the table (MLflow's server a CSV file) may take digits for a number.
        names = [str(x) if isinstance(x, Integral) else x for x in model_input["accession"]]
    return proteins_in_memory(model_input["sequence"], names)


def _one_row_each(rows: pl.DataFrame, n: int) -> pd.DataFrame:
    """Gather annotations of proteins named 0 to `n` - 1 as JSON, one row per protein."""
    import pandas as pd

    found: list[list[dict[str, Any]]] = [[] for _ in range(n)]
    for row in rows.iter_rows(named=True):
        found[int(row.pop("accession"))].append(row)
    return pd.DataFrame({"annotations": [json.dumps(one, ensure_ascii=False) for one in found]})


def _to_pandas(columns: Mapping[str, list[Any]]) -> pd.DataFrame:
    import pandas as pd

    dtypes = {"start": "int32", "end": "int32", "score": "float64"}
    dtypes |= {"precision": "float64", "precision_low": "float64", "probability": "float64"}
    frame = pd.DataFrame(columns).astype(dtypes)
    # MLflow's server writes a missing float as NaN, which no strict reader of JSON takes; None
    # becomes null.
    lacking = [name for name in dtypes if frame[name].isna().any()]
    present = frame[lacking].notna()
    frame[lacking] = frame[lacking].astype(object).where(present, None)
    return frame
