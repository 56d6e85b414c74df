"""The prober finds its queries where the trainer would: one rule for URIs of volumes."""

from pathlib import Path

import pytest
from distill_api import wire
from distill_api.data import DataSource
from distill_server.prober import sources


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("pvc://queries/held%20out/rows.jsonl", "queries/held out/rows.jsonl"),
        ("pvc://queries/../../etc/passwd", "queries/etc/passwd"),
        ("pvc://queries", "queries"),
    ],
)
def test_a_claim_is_read_in_place_and_cannot_be_left(uri: str, place: str, tmp_path: Path) -> None:
    found = sources._place(DataSource(uri=uri), tmp_path)
    assert found == Path(wire.VOLUMES_DIR) / place
