"""The API server refuses a bad object at the right field with a sentence that says what to do."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from distill_api import names
from kubernetes import client

HERE = Path(__file__).parent
VALID: dict[str, Any] = yaml.safe_load((HERE / "valid_object.yaml").read_text())
BAD: list[dict[str, Any]] = yaml.safe_load((HERE / "bad_objects.yaml").read_text())


def patched(target: Any, patch: Any) -> Any:
    """Return target changed by a JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    result = copy.deepcopy(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = patched(result.get(name), value)
    return result


def create(api: client.ApiClient, body: dict[str, Any], *, namespace: str = "default") -> Any:
    """Create an object as `kubectl apply --dry-run=server` does: all checks, nothing stored."""
    return client.CustomObjectsApi(api).create_namespaced_custom_object(
        names.GROUP,
        names.VERSION,
        namespace,
        names.JOB_PLURAL,
        body,
        dry_run="All",
        field_validation="Strict",
    )


def test_there_are_many_bad_objects_and_each_is_about_something_else() -> None:
    assert len(BAD) >= 100
    assert len({case["why"] for case in BAD}) == len(BAD)


def test_the_valid_object_is_accepted(crd: None, api: client.ApiClient) -> None:
    assert create(api, VALID)["metadata"]["name"] == "minilm-small"


@pytest.mark.parametrize("case", BAD, ids=[case["why"] for case in BAD])
def test_a_bad_object_is_refused_with_its_sentence(
    crd: None, api: client.ApiClient, case: dict[str, Any]
) -> None:
    with pytest.raises(client.ApiException) as refusal:
        create(api, patched(VALID, case["patch"]))
    assert refusal.value.status in {400, 422}
    answer = str(refusal.value.body).replace('\\"', '"')
    assert case["says"] in answer
    assert case["at"] in answer
