"""The reviewed YAML files are found, and the catalogue of PLMs is consistent."""

from __future__ import annotations

import yaml

from plmsae.core.resources import registry_path


def test_the_catalogue_is_complete_and_consistent() -> None:
    plms = yaml.safe_load(registry_path("plms.yaml").read_text())["plms"]
    esm2 = ("esm2-8m", "esm2-35m", "esm2-150m", "esm2-650m", "esm2-3b", "esm2-15b")
    assert {"plmsae-mini", *esm2} <= set(plms)
    for name, entry in plms.items():
        assert sum(source in entry for source in ("path", "hub_id", "package")) == 1, name
        if "n_layers" in entry:
            assert max(entry.get("suggested_layers", [0])) <= entry["n_layers"], name
        hub_id = entry.get("hub_id", "")
        if hub_id.startswith("facebook/esm2_"):
            # The hub id itself says how many blocks there are: esm2_t33_650M_UR50D.
            assert f"_t{entry['n_layers']}_" in hub_id
            assert entry["licence"] == "MIT"
    sources = [str(entry.get("hub_id") or entry.get("package") or name)
               for name, entry in plms.items()]  # fmt: skip
    assert len(set(sources)) == len(plms)
