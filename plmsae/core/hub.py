"""Whether the Hugging Face hub answers, asked once and briefly.

Without this check the hub's library tries every file six times with growing waits, so that an
opening without a network fails after most of a minute.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from plmsae.core.errors import InputError, UnavailableError

logger = logging.getLogger(__name__)


def hub_unreachable(repository: str, revision: str | None = None) -> str | None:
    """Return why the hub does not answer, in a few words; None where it does.

    One request is made, without retries, through the library's own session, so that its
    endpoint (``HF_ENDPOINT``) and the system's proxies hold. ``HF_HUB_ETAG_TIMEOUT`` (10 seconds
    by default) is the longest that it takes, looking up the host's name included.

    Parameters
    ----------
    repository : str
        A hub id (``owner/model``). Any answer about it will do: that there is no such repository
        is for the library to say.
    """
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    seconds = constants.HF_HUB_ETAG_TIMEOUT
    url = f"{constants.ENDPOINT}/{repository}/resolve/{revision or 'main'}/config.json"
    answers: list[str | None] = []

    def ask() -> None:
        try:
            status = get_session().head(url, timeout=seconds).status_code
        # Whatever goes wrong on the way to the hub is the answer.
        except Exception as error:  # noqa: BLE001
            answers.append(str(error) or type(error).__name__)
        else:
            answers.append(f"it answers with status {status}" if status >= 500 else None)

    # In a thread, because no timeout of the request covers the look-up of the host's name.
    thread = threading.Thread(target=ask, name="ask-the-hub", daemon=True)
    thread.start()
    thread.join(seconds + 1)
    return answers[0] if answers else f"no answer within {seconds} seconds"


def hub_options(repository: str, revision: str | None) -> dict[str, Any]:
    """Return the options with which the library opens a model from the hub.

    Returns
    -------
    dict
        ``revision``, if one is asked for; ``local_files_only`` where the hub does not answer and
        the model was downloaded before.

    Raises
    ------
    UnavailableError
        If the hub does not answer and the model was never downloaded.
    """
    from huggingface_hub import constants

    options: dict[str, Any] = {"revision": revision} if revision else {}
    why = hub_unreachable(repository, revision)
    if why is None:
        return options
    if downloaded_commit(repository, revision) is None:
        raise UnavailableError(
            f"the Hugging Face hub cannot be reached: {why}",
            where=repository,
            hint="check the network, or give a PLM that needs no hub: plmsae-mini, a folder, or "
            "one of the catalogue that comes from a package index",
        )
    if not constants.HF_HUB_OFFLINE:
        logger.warning("the hub cannot be reached (%s); %s is read from its cache", why, repository)
    return {**options, "local_files_only": True}


def downloaded_commit(repository: str, revision: str | None) -> str | None:
    """Return the commit of a model in the hub's cache, None if it was never downloaded."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, "config.json", revision=revision)
    # The cache keeps each commit's files in a folder of its name.
    return Path(path).parent.name if isinstance(path, str) else None


#: What opening a model needs; weights in other formats are not read.
_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")


def download_model(repository: str, revision: str | None) -> Path:
    """Download the files of a model into the hub's cache, or find them there.

    Returns
    -------
    Path
        The folder with them.

    Raises
    ------
    InputError
        If the hub does not answer, or has no such model with safetensors weights.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    options = hub_options(repository, revision)
    disable_progress_bars()
    try:
        folder = Path(snapshot_download(repository, allow_patterns=list(_FILES), **options))
    except (OSError, ValueError) as error:
        raise InputError(
            "it cannot be fetched: " + str(error).strip().splitlines()[0],
            where=repository,
            hint="check the name, the revision and the network",
        ) from error
    if not any(folder.glob("*.safetensors")):
        raise InputError("it has no safetensors weights; no others are read", where=repository)
    return folder
