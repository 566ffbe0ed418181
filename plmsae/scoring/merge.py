"""Several latents may detect one concept: make one annotation of calls that overlap."""

from __future__ import annotations

import polars as pl

_PLACE = ["protein", "concept"]


def merge_calls(calls: pl.DataFrame) -> pl.DataFrame:
    """Keep, among overlapping calls of one concept in one protein, the most trusted.

    The kept call gives its own span, score and precision, because these belong together: the
    precision was measured on the calls of that latent. The latents of calls that overlap it are
    listed with it, in the order of trust.

    Parameters
    ----------
    calls : DataFrame
        protein, start, end (inclusive), concept, score, latent (i32), precision, precision_low
        (f64, null where unmeasured). Calls of one latent for one concept do not overlap, as
        `plmsae.concepts.calling.calls.call_spans` makes them.

    Returns
    -------
    DataFrame
        The same without ``latent`` and with ``latents`` (list of i32); no two rows of one protein
        and concept overlap.
    """
    trust = [
        pl.col("precision_low").fill_null(-1.0),
        pl.col("precision").fill_null(-1.0),
        pl.col("score"),
    ]
    # Calls of one latent never overlap: most concepts, with one latent each, are done.
    single = pl.col("latent").n_unique().over("concept") == 1
    lone = calls.filter(single).with_columns(latents=pl.concat_list("latent")).drop("latent")
    calls = calls.filter(~single)
    # A new group starts where nothing before, in this protein and concept, reaches.
    reach = pl.col("end").cum_max().shift(1).over(_PLACE)
    grouped = calls.sort(*_PLACE, "start", "end", "latent").with_columns(
        group=(reach.is_null() | (pl.col("start") > reach)).cum_sum()
    )
    grouped = grouped.with_columns(
        size=pl.len().over("group"), latents=pl.concat_list(pl.col("latent"))
    )
    alone = grouped.filter(pl.col("size") == 1)
    crowd = grouped.filter(pl.col("size") > 1).sort(
        "group", *trust, "start", "end", "latent", descending=[False] + [True] * 3 + [False] * 3
    )
    merged = pl.concat([alone, _keep_most_trusted(crowd)]).drop("latent", "group", "size")
    return pl.concat([lone, merged])


def _keep_most_trusted(crowd: pl.DataFrame) -> pl.DataFrame:
    """Keep rows greedily within each group; `crowd` is sorted by group, then by falling trust."""
    kept: dict[int, tuple[int, int, list[int]]] = {}  # row -> start, end, latents
    group, here = -1, list[int]()
    columns = crowd.select("group", "start", "end", "latent").iter_rows()
    for row, (next_group, start, end, latent) in enumerate(columns):
        if next_group != group:
            group, here = next_group, []
        over = [kept[other] for other in here if kept[other][0] <= end and start <= kept[other][1]]
        for _, _, latents in over:
            if latent not in latents:
                latents.append(latent)
        if not over:
            kept[row] = (start, end, [latent])
            here.append(row)
    found = pl.Series([latents for _, _, latents in kept.values()], dtype=pl.List(pl.Int32))
    return crowd[list(kept)].with_columns(latents=found)
