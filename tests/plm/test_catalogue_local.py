from __future__ import annotations

import pytest
from tiny import save_tiny

from plmsae.core.errors import InputError
from plmsae.plm.catalogue import find_plm
from plmsae.plm.model import load_plm


def test_a_pretrained_plm_is_called_after_its_run_and_found_again_by_that_name(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PLMSAE_PLMS", raising=False)
    folder = save_tiny(tmp_path / "runs" / "mine" / "model")
    given = load_plm(str(folder))
    assert given.id == "mine"
    # What a bundle keeps is the name, and that alone has to do.
    for name in ("mine", "runs/mine", "runs/mine/model"):
        entry = find_plm(name)
        assert (entry.name, entry.source) == ("mine", str(folder))
    assert load_plm("mine").revision == given.revision


def test_plms_are_looked_for_in_the_folders_that_the_environment_lists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = save_tiny(tmp_path / "elsewhere" / "mine")
    with pytest.raises(InputError, match="PLMSAE_PLMS"):
        find_plm("mine")
    monkeypatch.setenv("PLMSAE_PLMS", f"/none:{tmp_path / 'elsewhere'}")
    assert find_plm("mine").source == str(folder)


def test_a_name_never_leads_out_of_the_folders_listed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tiny(tmp_path / "secret")
    (tmp_path / "listed").mkdir()
    monkeypatch.setenv("PLMSAE_PLMS", str(tmp_path / "listed"))
    with pytest.raises(InputError, match="no such PLM"):
        find_plm("x/../../secret")
