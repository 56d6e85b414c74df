"""The generated files are what the models say, and say enough."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from distill_api import names, not_yet
from distill_api.generate import crd, files, reasons_page
from distill_api.generate.kinds import JOB, KINDS, ROLLOUT, Kind
from distill_api.generate.structural import RULES
from distill_api.names import Reason, RolloutReason
from distill_api.reasons import MEANINGS
from distill_api.rollout_reasons import ROLLOUT_MEANINGS

SIZE_LIMIT = 200_000
ROOTS = {kind.short: crd.root_schema(kind) for kind in KINDS}
ROOT_SCHEMA = ROOTS["djob"]


def _fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every member below the schema with its path."""
    held = schema.get("items", schema)
    for name, member in held.get("properties", {}).items():
        yield f"{path}.{name}", member
        yield from _fields(member, f"{path}.{name}")


FIELDS = [
    (path, member)
    for short, root in ROOTS.items()
    for path, member in _fields(root, short)
    if not path.startswith(f"{short}.metadata")
]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=[kind.short for kind in KINDS])


def _checks(schema: dict[str, Any]) -> Iterator[dict[str, str]]:
    yield from schema.get(RULES, [])
    for child in schema.get("properties", {}).values():
        yield from _checks(child)
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield from _checks(schema[keyword])


def test_the_committed_files_are_what_the_models_say() -> None:
    assert files.differing(files.ROOT) == [], "run `make generate` and commit the result"


def test_check_names_a_file_that_differs_and_write_heals_it(tmp_path: Any) -> None:
    assert set(files.differing(tmp_path)) == set(files.contents())
    files.write(tmp_path)
    assert files.differing(tmp_path) == []
    (tmp_path / f"crds/{JOB.name}.yaml").write_text("edited by hand")
    assert files.differing(tmp_path) == [f"crds/{JOB.name}.yaml"]


@each_kind
def test_the_crd_is_small_enough_for_a_last_applied_annotation(kind: Kind) -> None:
    # The annotation holds the object as JSON without blanks.
    crd = yaml.safe_load(files.contents()[f"crds/{kind.name}.yaml"])
    assert len(json.dumps(crd, separators=(",", ":")).encode()) < SIZE_LIMIT


def test_the_charts_crds_are_the_same_objects() -> None:
    """Only Helm's own lines stand between the two."""
    chart = files.contents()["charts/kubedistill/templates/crds.yaml"]
    plain = "\n".join(line for line in chart.splitlines() if "{{" not in line)
    charted = list(yaml.safe_load_all(plain))
    for kind, with_keep in zip(KINDS, charted, strict=True):
        assert with_keep["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert with_keep == yaml.safe_load(files.contents()[f"crds/{kind.name}.yaml"])


def test_every_field_is_described_in_sentences() -> None:
    assert len(FIELDS) > 500
    bad = [
        p for p, s in FIELDS if not re.search(r"\w.*\.\s*$", s.get("description", ""), re.DOTALL)
    ]
    assert bad == []


@pytest.mark.parametrize("path", ["djob.spec.teacher.batchSize", "djob.spec.training.batchSize"])
def test_a_description_comes_from_the_field_and_not_from_its_type(path: str) -> None:
    described = {p: s["description"] for p, s in FIELDS}
    assert described["djob.spec.teacher.batchSize"].startswith("Inputs of one forward pass")
    assert described["djob.spec.training.batchSize"].startswith("Records of one optimiser step")
    assert path in described


def test_every_rule_has_a_sentence_that_names_something_to_change() -> None:
    found = [check for root in ROOTS.values() for check in _checks(root)]
    assert len(found) > 120
    assert [c["rule"] for c in found if len(c["message"]) < 30] == []
    assert [c["message"] for c in found if c["message"].endswith(".")] == []


def _fixed(short: str) -> set[str]:
    spec = ROOTS[short]["properties"]["spec"]["properties"]
    return {
        name
        for name, member in spec.items()
        if any(check["rule"] == "self == oldSelf" for check in member.get(RULES, []))
    }


def test_only_where_and_what_a_rollout_moves_cannot_change() -> None:
    assert _fixed("drollout") == {"component", "gateway"}


def test_the_recipe_cannot_change_and_the_running_of_it_can() -> None:
    """The fields that may change are written out here: a new field has to be thought about."""
    spec = ROOT_SCHEMA["properties"]["spec"]["properties"]
    assert set(spec) - _fixed("djob") == {
        "podTemplate",
        "prices",
        "suspend",
        "queueName",
        "priorityClassName",
        "retries",
        "stageDeadlineSeconds",
        "ttlSecondsAfterFinished",
    }


def test_defaults_stand_in_the_spec_and_never_in_the_status() -> None:
    with_default = [path for path, schema in FIELDS if "default" in schema]
    for short in ROOTS:
        assert len([p for p in with_default if p.startswith(f"{short}.spec.")]) > 60
    assert [p for p in with_default if p.split(".")[1] != "spec"] == []


def test_an_objects_default_has_all_members_that_its_rules_look_at() -> None:
    defaults = {path: schema["default"] for path, schema in FIELDS if "default" in schema}
    assert defaults["djob.spec.data.splits"] == {"train": 80, "validation": 10, "test": 10}
    assert defaults["djob.spec.workspace"]["labelCache"] == {"size": "10Gi", "disabled": False}
    assert defaults["djob.spec.podTemplate.resources.limits"] == {"memory": "4Gi"}


COLUMNS = {
    "djob": (
        ["Stage", "Progress", "Retention", "Artifact", "Age"],
        ["Speedup", "Cost", "Phase", "Reason", "Published"],
    ),
    "drollout": (
        ["Phase", "Step", "Weight", "Share", "Verdict", "Decision", "Age"],
        ["Teacher", "Artifact", "Reason"],
    ),
}


@each_kind
def test_printer_columns(kind: Kind) -> None:
    version = crd.manifest(kind)["spec"]["versions"][0]
    listed = version["additionalPrinterColumns"]
    narrow, wide = COLUMNS[kind.short]
    assert [c["name"] for c in listed if c.get("priority", 0) == 0] == narrow
    assert [c["name"] for c in listed if c.get("priority", 0) == 1] == wide


@each_kind
def test_columns_and_selectors_point_at_fields_that_exist(kind: Kind) -> None:
    version = crd.manifest(kind)["spec"]["versions"][0]
    paths = [c["jsonPath"] for c in version["additionalPrinterColumns"]]
    paths += [s["jsonPath"] for s in version["selectableFields"]]
    known = {path.removeprefix(kind.short) for path, _ in FIELDS if path.startswith(kind.short)}
    known |= {
        ".metadata.creationTimestamp",
        '.status.conditions[?(@.type=="Succeeded")].reason',
    }
    assert len(paths) >= 11
    assert set(paths) <= known


@each_kind
def test_there_is_a_status_and_no_scale(kind: Kind) -> None:
    assert crd.manifest(kind)["spec"]["versions"][0]["subresources"] == {"status": {}}


def test_every_reason_is_explained_on_the_page() -> None:
    page = reasons_page.render()
    assert set(MEANINGS) == set(Reason)
    assert set(ROLLOUT_MEANINGS) == set(RolloutReason)
    assert [r for r in [*Reason, *RolloutReason] if f"| `{r}` |" not in page] == []
    told = [*MEANINGS.values(), *ROLLOUT_MEANINGS.values()]
    assert [text for meaning in told for text in meaning if not text.endswith(".")] == []


def test_reasons_are_camel_case_words() -> None:
    assert [
        r for r in [*Reason, *RolloutReason] if not re.fullmatch(r"[A-Z][A-Za-z]{2,39}", r)
    ] == []


@pytest.mark.parametrize(
    ("short", "refused", "checks"),
    [
        ("djob", not_yet.REFUSED, not_yet.RULES),
        ("drollout", not_yet.ROLLOUT_REFUSED, not_yet.ROLLOUT_RULES),
    ],
    ids=["djob", "drollout"],
)
def test_a_field_that_is_not_available_yet_says_so_and_what_to_do_instead(
    short: str, refused: tuple[not_yet.NotYet, ...], checks: tuple[dict[str, Any], ...]
) -> None:
    assert len(checks) == len(refused)
    spec_rules = ROOTS[short]["properties"]["spec"].get(RULES, [])
    for field, check in zip(refused, checks, strict=True):
        assert check in spec_rules
        assert "is not available in this release yet: " in str(check["message"])
        assert str(check["message"]).endswith(field.instead)
        first = field.path.split()[0]
        assert f"{short}.spec.{first}" in dict(FIELDS), f"{first} is no field"


@each_kind
def test_the_groups_own_names_are_consistent(kind: Kind) -> None:
    manifest = crd.manifest(kind)
    named = manifest["spec"]["names"]
    assert manifest["metadata"]["name"] == f"{named['plural']}.{names.GROUP}"
    assert named["plural"] == f"{named['singular']}s" == f"{named['kind'].lower()}s"
    assert named["shortNames"] == [kind.short]
    assert named["categories"] == ["distillation"]


def test_the_two_kinds_are_named_apart() -> None:
    assert [(k.kind, k.plural, k.short) for k in (JOB, ROLLOUT)] == [
        ("DistillationJob", "distillationjobs", "djob"),
        ("DistilledModelRollout", "distilledmodelrollouts", "drollout"),
    ]


def test_no_room_shadows_the_standard_library() -> None:
    """`import operator` must stay the standard library's, from the tests too."""
    assert not (files.ROOT / "operator" / "__init__.py").exists()
    named = [p for p in (files.ROOT / "tests").rglob("operator") if p.is_dir()]
    named += list((files.ROOT / "tests").rglob("operator.py"))
    assert named == []
