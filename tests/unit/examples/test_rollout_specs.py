"""The examples of rollouts are what the contract takes."""

from pathlib import Path

import pytest
import yaml
from distill_api.rollout import VLLM_BUCKETS, DistilledModelRolloutSpec
from distill_api.rollout_metrics import Latency

FOLDER = Path(__file__).parents[3] / "examples" / "rollout"
EXAMPLES = sorted(FOLDER.glob("*.yaml"))


def spec(path: Path) -> DistilledModelRolloutSpec:
    bodies = list(yaml.safe_load_all(path.read_text()))
    (found,) = (body for body in bodies if body["kind"] == "DistilledModelRollout")
    return DistilledModelRolloutSpec.model_validate(found["spec"])


def test_the_generators_limits_are_ones_that_vllm_counts_at():
    found = spec(FOLDER / "generator.yaml")
    kinds = [metric.kind for metric in found.metrics]
    limits = [(kind.signal, kind.limit_milliseconds) for kind in kinds if isinstance(kind, Latency)]
    assert len(limits) == 2
    for signal, limit in limits:
        assert limit in VLLM_BUCKETS[signal]


@pytest.mark.parametrize(
    "path",
    [FOLDER / "generator.yaml", FOLDER / "generator-demo.yaml"],
    ids=lambda path: path.stem,
)
def test_an_example_is_a_rollout(path: Path):
    assert path in EXAMPLES
    assert spec(path).component == "Generator"
