"""A user's own PLM whose folder is named like one of the catalogue is found again."""

from __future__ import annotations

import pytest

from plmsae.core.errors import NotFoundError
from plmsae.plm.catalogue import find_plm

DIGEST = "sha256:" + "0" * 64


def test_a_model_trained_on_a_folder_finds_it_and_not_the_hub(tmp_path, monkeypatch):
    folder = tmp_path / "plms" / "esm2-8m"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLMSAE_PLMS", str(tmp_path / "plms"))
    trained_on = find_plm(str(folder))
    assert trained_on.name == "esm2-8m"
    assert find_plm("esm2-8m", DIGEST).source == trained_on.source
    assert find_plm("esm2-8m").source != trained_on.source


def test_where_the_folder_is_not_found_it_is_said_what_to_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PLMSAE_PLMS", raising=False)
    with pytest.raises(NotFoundError, match=r"not the PLM of that name on the hub.*PLMSAE_PLMS"):
        find_plm("esm2-8m", DIGEST)
