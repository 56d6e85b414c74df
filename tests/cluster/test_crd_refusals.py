"""The API server refuses a bad object at the right field with a sentence that says what to do."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from distill_api import names
from kubernetes import client

HERE = Path(__file__).parent
VALID: dict[str, dict[str, Any]] = {
    kind: yaml.safe_load((HERE / f"valid_{kind}.yaml").read_text())
    for kind in ("object", "rollout")
}
BAD: list[tuple[str, dict[str, Any]]] = [
    (kind, case)
    for kind in VALID
    for case in yaml.safe_load((HERE / f"bad_{kind}s.yaml").read_text())
]
PLURAL = {names.JOB_KIND: names.JOB_PLURAL, names.ROLLOUT_KIND: names.ROLLOUT_PLURAL}


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
        PLURAL[body.get("kind", "")],
        body,
        dry_run="All",
        field_validation="Strict",
    )


@pytest.mark.parametrize("kind", VALID)
def test_there_are_many_bad_objects_and_each_is_about_something_else(kind: str) -> None:
    reasons = [case["why"] for of, case in BAD if of == kind]
    assert len(reasons) >= 100
    assert len(set(reasons)) == len(reasons)


@pytest.mark.parametrize("kind", VALID)
def test_the_valid_object_is_accepted(crd: None, api: client.ApiClient, kind: str) -> None:
    body = VALID[kind]
    assert create(api, body)["metadata"]["name"] == body["metadata"]["name"]


@pytest.mark.parametrize(
    ("kind", "case"), BAD, ids=[f"{kind}: {case['why']}" for kind, case in BAD]
)
def test_a_bad_object_is_refused_with_its_sentence(
    crd: None, api: client.ApiClient, kind: str, case: dict[str, Any]
) -> None:
    with pytest.raises(client.ApiException) as refusal:
        create(api, patched(VALID[kind], case["patch"]))
    assert refusal.value.status in {400, 422}
    answer = json.loads(str(refusal.value.body))["message"]
    assert case["says"] in answer
    assert case["at"] in answer
