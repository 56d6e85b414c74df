"""The examples of publish are what the contract takes."""

from pathlib import Path

import pytest
import yaml
from distill_api.job import DistillationJobSpec

FOLDER = Path(__file__).parents[3] / "examples" / "publish"
EXAMPLES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_job_that_says_where_it_publishes(path: Path):
    body = yaml.safe_load(path.read_text())
    spec = DistillationJobSpec.model_validate(body["spec"])
    assert (body["kind"], bool(spec.publish)) == ("DistillationJob", True)


def test_together_they_show_every_kind_of_target():
    found = [
        target
        for path in EXAMPLES
        for target in yaml.safe_load(path.read_text())["spec"]["publish"]
    ]
    assert {name for target in found for name in target} == {"oci", "s3", "pvc", "huggingFace"}
