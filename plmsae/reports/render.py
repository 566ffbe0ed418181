"""Writing feature reports in every form there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from plmsae.core.atomic import write_text
from plmsae.reports.describe import FeatureReport
from plmsae.reports.page import PAGES


def render_reports(
    reports: Sequence[FeatureReport],
    out_dir: Path,
    *,
    about: Mapping[str, str] | None = None,
) -> dict[str, Path]:
    """Write the reports into a folder.

    Parameters
    ----------
    reports : sequence of FeatureReport
        In the order they are to be read.
    out_dir : Path
        Made if it is missing; files of the same names are replaced.
    about : mapping, optional
        Lines for the head: ``{"model": "models:/…/3", "proteins": "…"}``.

    Returns
    -------
    dict of str to Path
        The file of each page by the page's name: ``html``, ``json``, ``markdown``, …
    """
    paths = {}
    for name, page in PAGES.items():
        paths[name] = Path(out_dir) / page.filename
        write_text(paths[name], page.render(reports, about or {}))
    return paths
