"""Argo CD and Flux see jobs and rollouts as they are."""

import re
from typing import Any

import lupa  # type: ignore[import-untyped]
import pytest
import yaml
from distill_api.generate import files
from distill_api.names import RolloutPhase as Phase
from distill_operator.plan.rollout import conditions

CHECK = (files.ROOT / "charts/kubedistill/gitops/health.lua").read_text()
ROLLOUT_CHECK = (files.ROOT / "charts/kubedistill/gitops/rollout-health.lua").read_text()
GUIDE = (files.ROOT / "docs/guide/gitops.md").read_text()


def _job(*, generation: int = 2, observed: int | None = 2, **conditions: str) -> dict[str, Any]:
    listed = [
        {"type": kind, "status": status, "message": f"about {kind}"}
        for kind, status in conditions.items()
    ]
    status = {"conditions": listed, "observedGeneration": observed}
    return {"metadata": {"generation": generation}, "status": status}


def _health(job: dict[str, Any], check: str = CHECK) -> tuple[str, str]:
    lua = lupa.LuaRuntime(unpack_returned_tuples=True)
    lua.globals().obj = lua.table_from(job, recursive=True)
    answer = lua.execute(check)
    return answer.status, answer.message


CASES = [
    ("just created", {"metadata": {"generation": 1}}, "Progressing", "Waiting for the operator"),
    (
        "changed, not seen yet",
        _job(generation=3, Succeeded="True"),
        "Progressing",
        "Waiting for the operator to see the change",
    ),
    (
        "under way",
        _job(Succeeded="Unknown", Reconciling="True", Stalled="False"),
        "Progressing",
        "about Succeeded",
    ),
    ("published", _job(Succeeded="True", Ready="True"), "Healthy", "about Succeeded"),
    ("failed for good", _job(Succeeded="False", Stalled="True"), "Degraded", "about Stalled"),
    ("suspended", _job(Succeeded="Unknown", Suspended="True"), "Suspended", "about Suspended"),
]


@pytest.mark.parametrize(
    ("job", "health", "message"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_argo_cd(job: dict[str, Any], health: str, message: str) -> None:
    assert _health(job) == (health, message)


def test_argo_cd_shows_the_progress_of_a_stage() -> None:
    job = _job(Succeeded="Unknown", Reconciling="True")
    job["status"]["progress"] = "Train 42% (ETA 3m10s)"
    assert _health(job) == ("Progressing", "Train 42% (ETA 3m10s)")


ROLLOUTS = [
    ("just created", {"metadata": {"generation": 1}}, "Progressing", "Waiting for the operator"),
    (
        "changed, not seen yet",
        _job(generation=3, Promoted="True"),
        "Progressing",
        "Waiting for the operator to see the change",
    ),
    ("promoted", _job(Promoted="True", Ready="True"), "Healthy", "about Promoted"),
    ("rolled back", _job(Promoted="False", Stalled="True"), "Degraded", "about Stalled"),
    ("asks a person", _job(Promoted="Unknown", Paused="True"), "Suspended", "about Paused"),
    (
        "cannot roll back",
        _job(Promoted="False", Reconciling="True", RollbackFailed="True"),
        "Degraded",
        "about RollbackFailed",
    ),
]


@pytest.mark.parametrize(
    ("rollout", "health", "message"), [c[1:] for c in ROLLOUTS], ids=[c[0] for c in ROLLOUTS]
)
def test_argo_cd_sees_a_rollout(rollout: dict[str, Any], health: str, message: str) -> None:
    assert _health(rollout, ROLLOUT_CHECK) == (health, message)


EXPECTED_HEALTH = {
    Phase.PROMOTED: "Healthy",
    Phase.COMPLETED: "Healthy",
    Phase.PAUSED: "Suspended",
    Phase.ROLLED_BACK: "Degraded",
    Phase.FAILED: "Degraded",
}


@pytest.mark.parametrize("phase", Phase)
def test_argo_cd_sees_what_the_operator_says_in_each_phase(phase: Phase) -> None:
    """The operator's own table of conditions, read by the check."""
    row = zip(conditions.COLUMNS, conditions.TABLE[phase], strict=True)
    rollout = _job(**{kind.value: str(value) for kind, value in row})
    rollout["status"]["message"] = "Step 2 of 5"
    health, message = _health(rollout, ROLLOUT_CHECK)
    assert health == EXPECTED_HEALTH.get(phase, "Progressing")
    if health == "Progressing":
        assert message == "Step 2 of 5"


def test_the_guides_examples_are_yaml_about_our_kind() -> None:
    blocks = [yaml.safe_load(b) for b in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)]
    assert [b["kind"] for b in blocks] == ["ConfigMap", "Kustomization", "Application"]
    assert "resource.customizations.health.kubedistill.io_DistillationJob" in blocks[0]["data"]
    expression = blocks[1]["spec"]["healthCheckExprs"][0]
    assert expression["kind"] == "DistillationJob"
    assert {"inProgress", "failed", "current"} < set(expression)
