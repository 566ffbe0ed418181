"""Fetching the SAEs that InterPLM's authors publish on the Hugging Face hub."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from plmsae.core.errors import InputError
from plmsae.core.hub import hub_unreachable
from plmsae.sae.importing.published import Published, published

INTERPLM_FILES = ("ae_normalized.pt", "ae_unnormalized.pt")
"""The weights in one layer's folder; the normalised ones are taken where there are both."""


def find_interplm(plm: str, layer: int) -> Published:
    """Return the repository that holds InterPLM's SAE of a PLM's layer.

    Raises
    ------
    InputError
        If none was published.
    """
    there = {known.plm: known for known in published() if known.format == "interplm"}
    found = there.get(plm)
    if found is None:
        raise InputError(
            "InterPLM published no SAE of this PLM",
            where="--plm",
            value=plm,
            hint=f"there are {', '.join(there)}; or give the folder with --from",
        )
    if layer not in found.layers:
        raise InputError(
            f"InterPLM published no SAE of this layer of {plm}",
            where="--layer",
            value=str(layer),
            hint=f"there are {', '.join(map(str, found.layers))}; or give --from DIR",
        )
    return found


def fetch_interplm(plm: str, layer: int) -> tuple[Path, dict[str, str]]:
    """Download one SAE of InterPLM's, or take it from the hub's cache.

    Parameters
    ----------
    plm : str
        Short name of the PLM.

    Returns
    -------
    folder : Path
        Holds ``layer_N``; for `import_sae`.
    origin : dict of str
        ``repository``, ``commit`` and ``path`` of the weights in it.

    Raises
    ------
    InputError
        If none was published, or it cannot be fetched.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    repository = find_interplm(plm, layer).hub_id
    disable_progress_bars()

    why = hub_unreachable(repository)

    def fetch(name: str) -> Path | None:
        try:
            file = f"layer_{layer}/{name}"
            return Path(hf_hub_download(repository, file, local_files_only=why is not None))
        except LocalEntryNotFoundError as error:
            raise OSError(f"the hub cannot be reached: {why or error}") from error
        except EntryNotFoundError:
            return None

    try:
        weights = next((path for name in INTERPLM_FILES if (path := fetch(name)) is not None), None)
    except (OSError, ValueError) as error:
        raise InputError(
            "it cannot be fetched: " + str(error).strip().splitlines()[0],
            where=repository,
            hint="check the network, or download it elsewhere and give --from DIR",
        ) from error
    if weights is None:
        raise InputError(f"it holds no SAE of layer {layer}", where=repository)
    # Kept with the origin where it is there; nothing depends on it.
    with suppress(OSError, ValueError):
        fetch("config.yaml")
    root = weights.parent.parent
    # The hub's cache keeps each commit's files in a folder of its name.
    return root, {
        "repository": repository,
        "commit": root.name,
        "path": f"layer_{layer}/{weights.name}",
    }
