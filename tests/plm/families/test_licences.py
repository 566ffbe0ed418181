from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small import CASES

from plmsae.core.errors import InputError
from plmsae.core.resources import registry_path
from plmsae.plm import catalogue
from plmsae.plm.catalogue import announce_licence, find_plm
from plmsae.plm.facts import plm_facts
from plmsae.plm.model import load_plm

PLMS = yaml.safe_load(registry_path("plms.yaml").read_text(encoding="utf-8"))["plms"]


@pytest.fixture(autouse=True)
def _nothing_announced(monkeypatch):
    monkeypatch.setattr(catalogue, "_announced", set())


@pytest.mark.parametrize("name", PLMS)
def test_every_entry_states_its_licence_and_shape(name):
    entry = PLMS[name]
    assert entry["licence"]
    assert isinstance(entry.get("non_commercial", False), bool)
    assert ("NC" in entry["licence"]) == bool(entry.get("non_commercial"))
    if "hub_id" in entry:
        facts = plm_facts(name, network=False)
        assert (facts.n_layers, facts.d_model) == (entry["n_layers"], entry["d_model"])
        assert all(0 < layer <= facts.n_layers for layer in entry.get("suggested_layers", []))


def test_a_licence_is_named_before_anything_is_downloaded(caplog):
    # The tests run offline, so that opening it fails; the line comes before that.
    with pytest.raises(InputError, match="cannot be reached"):
        load_plm("ankh-base")
    line = (
        "ankh-base (ElnaggarLab/ankh-base) has the licence CC-BY-NC-SA-4.0: "
        "for non-commercial use only"
    )
    assert caplog.messages.count(line) == 1
    plm_facts("ankh-base")  # asks the hub too; what was said is not said again
    assert caplog.messages.count(line) == 1


def test_a_licence_is_found_by_the_hub_id_too(caplog):
    announce_licence(find_plm("elnaggarlab/ankh-large"))
    announce_licence(find_plm("facebook/esm2_t6_8M_UR50D"))
    announce_licence(find_plm("somebody/something"))
    assert "CC-BY-NC-SA-4.0: for non-commercial use only" in caplog.messages[0]
    assert caplog.messages[1].endswith("has the licence MIT")
    assert len(caplog.messages) == 2


def test_nothing_is_said_where_nothing_is_downloaded(tmp_path, caplog):
    load_plm(str(CASES["ankh"].save(tmp_path / "plm")), device="cpu")
    plm_facts("protbert", network=False)
    load_plm("plmsae-mini", device="cpu")
    assert not caplog.messages


def test_a_plm_in_the_hubs_cache_opens_offline_under_its_commit_and_without_a_word(tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "models--ElnaggarLab--ankh-base"
    (place / "snapshots").mkdir(parents=True)
    CASES["ankh"].save(place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    code = "from plmsae.plm.model import load_plm; print(load_plm('ankh-base').revision)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        cwd=Path(__file__).resolve().parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == commit
    assert "licence" not in done.stderr
