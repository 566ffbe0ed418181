"""Tables of homology clusters, as MMseqs2 and DIAMOND write them."""

from __future__ import annotations

from pathlib import Path

from plmsae.core.errors import FormatError


def read_clusters(path: Path) -> dict[str, str]:
    """Read a table of two columns, ``cluster<TAB>accession``, without a header.

    Returns
    -------
    dict
        The cluster of each accession.

    Raises
    ------
    InputError
        If there is no such file, it is empty, a line has not two columns, or an accession is in two
        clusters.
    """
    cluster_of: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                cells = line.rstrip("\r\n").split("\t")
                if len(cells) != 2 or not all(cells):
                    raise FormatError(
                        "a line must be a cluster, a tab and an accession",
                        where=path,
                        line=number,
                        value=line.rstrip(),
                    )
                cluster, accession = cells
                if cluster_of.setdefault(accession, cluster) != cluster:
                    raise FormatError(
                        "this accession is in two clusters",
                        where=path,
                        line=number,
                        value=accession,
                    )
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise FormatError(f"cannot read the clusters: {reason}", where=path) from error
    if not cluster_of:
        raise FormatError("the table of clusters is empty", where=path)
    return cluster_of
