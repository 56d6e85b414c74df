"""The generated files are what the models say, and say enough."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from distill_api import names, not_yet
from distill_api.generate import crd, files, reasons_page
from distill_api.generate.structural import RULES
from distill_api.names import Reason
from distill_api.reasons import MEANINGS

SIZE_LIMIT = 200_000
ROOT_SCHEMA = crd.root_schema()


def _fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every member below the schema with its path."""
    held = schema.get("items", schema)
    for name, member in held.get("properties", {}).items():
        yield f"{path}.{name}", member
        yield from _fields(member, f"{path}.{name}")


FIELDS = [
    (path, member)
    for path, member in _fields(ROOT_SCHEMA, "djob")
    if not path.startswith("djob.metadata")
]


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
    (tmp_path / f"crds/{crd.NAME}.yaml").write_text("edited by hand")
    assert files.differing(tmp_path) == [f"crds/{crd.NAME}.yaml"]


def test_the_crd_is_small_enough_for_a_last_applied_annotation() -> None:
    text = files.contents()[f"crds/{crd.NAME}.yaml"]
    assert len(text.encode()) < SIZE_LIMIT


def test_the_charts_crd_is_the_same_object() -> None:
    """Only Helm's own lines stand between the two."""
    chart = files.contents()["charts/kubedistill/templates/crds.yaml"]
    plain = "\n".join(line for line in chart.splitlines() if "{{" not in line)
    with_keep = yaml.safe_load(plain)
    assert with_keep["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert with_keep == yaml.safe_load(files.contents()[f"crds/{crd.NAME}.yaml"])


def test_every_field_is_described_in_sentences() -> None:
    assert len(FIELDS) > 250
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
    found = list(_checks(ROOT_SCHEMA))
    assert len(found) > 60
    assert [c["rule"] for c in found if len(c["message"]) < 30] == []
    assert [c["message"] for c in found if c["message"].endswith(".")] == []


def test_the_recipe_cannot_change_and_the_running_of_it_can() -> None:
    """The fields that may change are written out here: a new field has to be thought about."""
    spec = ROOT_SCHEMA["properties"]["spec"]["properties"]
    fixed = {
        name
        for name, member in spec.items()
        if any(check["rule"] == "self == oldSelf" for check in member.get(RULES, []))
    }
    assert set(spec) - fixed == {
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
    assert len([p for p in with_default if p.startswith("djob.spec.")]) > 60
    assert [p for p in with_default if not p.startswith("djob.spec.")] == []


def test_an_objects_default_has_all_members_that_its_rules_look_at() -> None:
    defaults = {path: schema["default"] for path, schema in FIELDS if "default" in schema}
    assert defaults["djob.spec.data.splits"] == {"train": 80, "validation": 10, "test": 10}
    assert defaults["djob.spec.workspace"]["labelCache"] == {"size": "10Gi", "disabled": False}
    assert defaults["djob.spec.podTemplate.resources.limits"] == {"memory": "4Gi"}


@pytest.mark.parametrize(
    ("column", "wide"),
    [
        ("Stage", False),
        ("Progress", False),
        ("Retention", False),
        ("Artifact", False),
        ("Age", False),
        ("Speedup", True),
        ("Cost", True),
        ("Phase", True),
        ("Reason", True),
    ],
)
def test_printer_columns(column: str, wide: bool) -> None:  # noqa: FBT001 - a table's cell
    version = crd.manifest()["spec"]["versions"][0]
    found = {c["name"]: c for c in version["additionalPrinterColumns"]}
    assert (found[column].get("priority", 0) == 1) is wide


def test_columns_and_selectors_point_at_fields_that_exist() -> None:
    version = crd.manifest()["spec"]["versions"][0]
    paths = [c["jsonPath"] for c in version["additionalPrinterColumns"]]
    paths += [s["jsonPath"] for s in version["selectableFields"]]
    known = {path.removeprefix("djob") for path, _ in FIELDS} | {".metadata.creationTimestamp"}
    known.add('.status.conditions[?(@.type=="Succeeded")].reason')
    assert len(paths) == 11
    assert set(paths) <= known


def test_there_is_a_status_and_no_scale() -> None:
    assert crd.manifest()["spec"]["versions"][0]["subresources"] == {"status": {}}


def test_every_reason_is_explained_on_the_page() -> None:
    page = reasons_page.render()
    assert set(MEANINGS) == set(Reason)
    assert [r for r in Reason if f"| `{r}` |" not in page] == []
    assert all(text.endswith(".") for meaning in MEANINGS.values() for text in meaning)


def test_reasons_are_camel_case_words() -> None:
    assert [r for r in Reason if not re.fullmatch(r"[A-Z][A-Za-z]{2,39}", r)] == []


def test_a_field_that_is_not_available_yet_says_so_and_what_to_do_instead() -> None:
    assert len(not_yet.RULES) == len(not_yet.REFUSED) >= 1
    spec_rules = ROOT_SCHEMA["properties"]["spec"][RULES]
    for field, check in zip(not_yet.REFUSED, not_yet.RULES, strict=True):
        assert check in spec_rules
        assert "is not available in this release yet: " in str(check["message"])
        assert str(check["message"]).endswith(field.instead)
        first = field.path.split()[0]
        assert f"djob.spec.{first}" in dict(FIELDS), f"{first} is no field"


def test_the_groups_own_names_are_consistent() -> None:
    manifest = crd.manifest()
    assert manifest["metadata"]["name"] == f"{names.JOB_PLURAL}.{names.GROUP}"
    assert manifest["spec"]["names"]["shortNames"] == ["djob"]
    assert manifest["spec"]["names"]["categories"] == ["distillation"]


def test_no_room_shadows_the_standard_library() -> None:
    """`import operator` must stay the standard library's, from the tests too."""
    assert not (files.ROOT / "operator" / "__init__.py").exists()
    named = [p for p in (files.ROOT / "tests").rglob("operator") if p.is_dir()]
    named += list((files.ROOT / "tests").rglob("operator.py"))
    assert named == []
