"""Prompts in MLflow's prompt registry."""

from __future__ import annotations

from plmsae.tracking.runs import Run
from plmsae.tracking.store import client, mlflow_errors


def register_prompt(run: Run, name: str, text: str, *, version: int, sha256: str) -> int:
    """Register a prompt, unless this text is registered, and log which one a run uses.

    Parameters
    ----------
    run : Run
        Gets the parameters ``prompt.NAME.version`` (of the file), ``….registered_version`` and
        ``….sha256``.
    name : str
        Of the prompt in the registry.
    version : int
        That its file states.

    Returns
    -------
    int
        The version in the registry, which counts texts registered there.
    """
    store = client(run.tracking_uri)
    with mlflow_errors(run.tracking_uri):
        known = store.get_prompt(name) and store.search_prompt_versions(name)
        same = [prompt.version for prompt in known or () if prompt.tags.get("sha256") == sha256]
        if same:
            registered = int(same[0])
        else:
            made = store.register_prompt(
                name,
                template=text,
                commit_message=f"version {version} of the file",
                tags={"sha256": sha256, "file_version": str(version)},
            )
            registered = int(made.version)
    facts = {"version": version, "registered_version": registered, "sha256": sha256}
    run.log_params({f"prompt.{name}.{key}": value for key, value in facts.items()})
    return registered
