"""Whether the proteins of a report are those on which the model's concepts were chosen.

Then a rule by concept is tested on what it was chosen on, and its r says less than it seems to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from plmsae.bundle.meta import BundleMeta
from plmsae.core.fingerprint import DataFingerprint
from plmsae.core.sketch import SELECT_SKETCH, found_in_sketch


@dataclass(frozen=True, kw_only=True)
class ChosenOn:
    """What is known of the proteins of a report."""

    words: str
    """On what concepts were chosen, and how the report's proteins differ from it; to be put after
    "concepts were chosen on"."""
    warning: str
    """In one line; empty where the proteins are other ones."""


def compare(meta: BundleMeta, data: DataFingerprint, sequences: Sequence[str]) -> ChosenOn:
    """Compare the proteins of a report with those on which a model's concepts were chosen.

    Parameters
    ----------
    meta : BundleMeta
        Of the model. A sketch of the proteins (`plmsae.core.sketch`), which evaluations keep today,
        tells by sequence; without one only names of files can be compared.
    """
    split = meta.extra.get("split")
    if meta.eval_data is None or not isinstance(split, str):
        return ChosenOn(
            words="not known: the model records no evaluation by plmsae",
            warning="" if meta.eval_data is None else _CANNOT_TELL,
        )
    sketch = meta.extra.get(SELECT_SKETCH)
    if isinstance(sketch, str):
        return _by_sequence(sketch, split, sequences)
    if data.sha256 == meta.eval_data.sha256:
        return ChosenOn(
            words=f"others ({split}): these are the very proteins on which F1 was measured",
            warning="",
        )
    if split.startswith(f"chosen on {data.source}, "):
        return ChosenOn(
            words=f"the file of the same name ({split}); which of its proteins is not recorded",
            warning=f"{data.source} has the name of the file on which the model's concepts were "
            f"chosen: {_NO_TEST}",
        )
    if split.startswith("chosen on ") and f"reported on {data.source}, " in split:
        return ChosenOn(words=f"another file, by its name ({split})", warning="")
    if data.source == meta.eval_data.source:
        return ChosenOn(
            words=f"a part of the file of the same name ({split}); which is not recorded",
            warning=f"the model's concepts were chosen on a part of a file named {data.source}; "
            f"which part is not recorded. Where it is in these proteins, {_NO_TEST}",
        )
    return ChosenOn(
        words=f"another file, by its name ({split}; F1 measured on {meta.eval_data.source}); "
        "the same proteins under another name would not be noticed",
        warning="",
    )


_NO_TEST = "r of a rule by concept is then no test on new proteins"
_CANNOT_TELL = (
    "the model does not say on which proteins its concepts were chosen: if on these, "
    "r of a rule by concept is no test on new proteins"
)


def _by_sequence(sketch: str, split: str, sequences: Sequence[str]) -> ChosenOn:
    where = split.removeprefix("chosen on ")  # `ChosenOn.words` follow these words
    found, looked_up = found_in_sketch(sketch, sequences)
    if not looked_up:
        return ChosenOn(
            words=f"{where}; the sketch of its proteins tells of none of these",
            warning=_CANNOT_TELL,
        )
    return ChosenOn(
        words=f"{where}; of the proteins here, {found:,} of {looked_up:,} looked up are among "
        "those",
        warning=f"{found / looked_up:.0%} of these proteins (of {looked_up:,} looked up) are among "
        f"those on which the model's concepts were chosen: {_NO_TEST}"
        if found
        else "",
    )
