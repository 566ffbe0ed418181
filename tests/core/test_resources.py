"""The reviewed YAML files are found, and the catalogue of PLMs is consistent."""

from __future__ import annotations

import yaml

from plmsae.core.resources import registry_path


def test_the_catalogue_is_complete_and_consistent() -> None:
    plms = yaml.safe_load(registry_path("plms.yaml").read_text())["plms"]
    assert list(plms) == [
        *("plmsae-mini", "esm2-8m", "esm2-35m", "esm2-150m", "esm2-650m", "esm2-3b", "esm2-15b"),
    ]
    for name, entry in plms.items():
        assert ("path" in entry) != ("hub_id" in entry), name
        assert entry["licence"] == "MIT"
        if "hub_id" in entry:
            assert max(entry["suggested_layers"]) <= entry["n_layers"]
            # The hub id itself says how many blocks there are: esm2_t33_650M_UR50D.
            assert f"_t{entry['n_layers']}_" in entry["hub_id"]
    assert len({entry.get("hub_id") for entry in plms.values()}) == len(plms)
