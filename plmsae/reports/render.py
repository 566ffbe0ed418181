"""Writing feature reports in every form there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from plmsae.core.atomic import remove_temporaries, write_text
from plmsae.reports.page import PAGES
from plmsae.reports.report import FeatureReport


def render_reports(
    reports: Sequence[FeatureReport], out_dir: Path, *, about: Mapping[str, str] | None = None
) -> dict[str, Path]:
    """Write the reports into a folder: pages of all features, and ``features/`` with one of each.

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
        The file of each page of all features by the page's name: ``html``, ``json``, ``markdown``.
    """
    for folder in (Path(out_dir), Path(out_dir) / "features"):
        remove_temporaries(folder)
    paths = {}
    for name, page in PAGES.items():
        paths[name] = Path(out_dir) / page.filename
        write_text(paths[name], page.render(reports, about or {}))
        for report in reports:
            suffix = paths[name].suffix
            one = Path(out_dir) / "features" / f"{report.evidence.latent}{suffix}"
            write_text(one, page.render([report], about or {}))
    return paths
