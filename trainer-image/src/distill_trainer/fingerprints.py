"""Digests of everything that a stage's result depends on, so that equal work is done once."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import distill_api
from distill_api.base import Model
from distill_api.job import DistillationJobSpec
from distill_api.outcome import Evaluation
from distill_api.recipe import Component, QueryTransformRecipe
from distill_api.status import Lineage
from distill_api.wire import Task

PREFIX: Final = "sha256:"

LABEL_FORMAT: Final = 2
"""Raised when the label stage would write other numbers or files for the same input."""
PREPARE_FORMAT: Final = 4
"""Likewise for prepare."""
TRAIN_FORMAT: Final = 1
"""Likewise for train."""
QUANTIZE_FORMAT: Final = 1
"""Likewise for quantize."""
EXPORT_FORMAT: Final = 1
"""Likewise for export."""
ENGINE_FORMAT: Final = 1
"""Likewise for engine."""
EVALUATE_FORMAT: Final = 1
"""Likewise for evaluate."""
PUBLISH_FORMAT: Final = 1
"""Likewise for publish."""

_CHUNK = 1 << 20


def of(value: Any) -> str:
    """Digest a JSON value in its canonical form: sorted keys, no blanks, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return PREFIX + hashlib.sha256(text.encode()).hexdigest()


def of_model(model: Model | None) -> Any:
    """Return the JSON value of a part of the spec, as fingerprints see it."""
    return None if model is None else model.model_dump(mode="json", by_alias=True)


def short(fingerprint: str) -> str:
    """Return the 12 hexadecimal digits that name a folder."""
    return fingerprint.removeprefix(PREFIX)[:12]


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's content as bare hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_digest(root: Path) -> str:
    """Digest a file, or a folder by the list of its files, their sizes and their content.

    Names that begin with a dot are left out: tools keep locks and caches there.
    """
    if root.is_file():
        return PREFIX + file_digest(root)
    return of(
        [[path.relative_to(root).as_posix(), path.stat().st_size, file_digest(path)]
         for path in visible_files(root)]
    )  # fmt: skip


def visible_files(root: Path) -> list[Path]:
    """List the files below a folder, sorted, without those that a dot hides."""
    return sorted(
        path
        for path in root.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )


def _served_tokenizer(spec: DistillationJobSpec) -> dict[str, Any]:
    """Return whose numbers a server's tokens are; nothing where nobody asks."""
    endpoint = spec.teacher.endpoint
    if endpoint is None or endpoint.tokenizer is None:
        return {}
    return {"tokenizer": of_model(endpoint.tokenizer)}


def label(spec: DistillationJobSpec, *, teacher: str, data: str) -> str:
    """Fingerprint the teacher's embeddings of the data's texts.

    teacher, data: digests. Nothing else of the spec changes the numbers, so jobs with other
    students, splits or recipes share the labels.
    """
    return of({"stage": "label", "teacher": teacher, "data": data, **_label_settings(spec)})


def label_request(spec: DistillationJobSpec) -> str:
    """Fingerprint the label stage by what was asked for, without looking at teacher or data."""
    asked = {"teacher": of_model(spec.teacher), "data": of_model(spec.data.source)}
    return of({"stage": "label-request", **asked, **_label_settings(spec)})


def _label_settings(spec: DistillationJobSpec) -> dict[str, Any]:
    ranks = spec.component is Component.RERANKER
    writes = spec.component in {Component.GENERATOR, Component.QUERY_TRANSFORM}
    return {
        **({"sampling": of_model(spec.teacher.sampling)} if writes else {}),
        **_served_tokenizer(spec),
        **({"transform": _transform(asked)} if (asked := spec.recipe.query_transform) else {}),
        **({"candidates": of_model(spec.data.candidates)} if ranks else {}),
        "format": LABEL_FORMAT,
        "component": spec.component.value,
        "prompts": of_model(spec.teacher.prompts),
        "maxLength": spec.teacher.max_length,
        "batchSize": spec.teacher.batch_size,
        "dtype": "float32",
        "columns": of_model(spec.data.columns),
        "dataFormat": spec.data.source.format.value,
        "maxRecords": spec.data.max_records,
    }


def _transform(asked: QueryTransformRecipe) -> dict[str, Any]:
    """Return what the teacher is asked to do to a query."""
    return {"task": asked.task.value, "expansions": asked.expansions}


def prepare(task: Task, label_fingerprint: str) -> str:
    """Fingerprint the filtered, divided and mined records."""
    data = task.spec.data
    return of(
        {
            "stage": "prepare",
            "format": PREPARE_FORMAT,
            "label": label_fingerprint,
            "splits": of_model(data.splits),
            "filter": of_model(data.filter),
            "hardNegatives": of_model(data.hard_negatives),
            "balance": data.balance_by_difficulty,
            **({"production": of_model(sample)} if (sample := data.production_sample) else {}),
            "seed": task.spec.training.seed,
        }
    )


def recipe(spec: DistillationJobSpec) -> str:
    """Digest what the student is and how it learns; the recipe of the lineage."""
    parts = (spec.student, spec.recipe, spec.training)
    return of([of_model(part) for part in parts])


def train(task: Task, prepare_fingerprint: str) -> str:
    """Fingerprint the trained student. Threads count: sums depend on their order."""
    return of(
        {
            "stage": "train",
            "format": TRAIN_FORMAT,
            "prepare": prepare_fingerprint,
            "recipe": recipe(task.spec),
            "teacher": of_model(task.spec.teacher),
            "threads": task.threads,
            **({"sweep": of_model(task.spec.sweep)} if task.spec.sweep else {}),
            **_aware(task.spec),
        }
    )


def _aware(spec: DistillationJobSpec) -> dict[str, Any]:
    """Return how weights are rounded while training; nothing where they are not."""
    asked = spec.quantize
    if asked is None or not asked.aware_training:
        return {}
    return {"aware": [asked.method.value, asked.group_size]}


def quantize(task: Task, train_fingerprint: str) -> str:
    """Fingerprint the quantised student; the corpus and the batch count for what is measured."""
    evaluation = task.spec.evaluation
    return of(
        {
            "stage": "quantize",
            "format": QUANTIZE_FORMAT,
            "train": train_fingerprint,
            "quantize": of_model(task.spec.quantize),
            "measured": [evaluation.corpus.value, evaluation.throughput_batch_size],
        }
    )


def export(task: Task, inputs: Iterable[str]) -> str:
    """Fingerprint the student's other forms. inputs: fingerprints of train and quantize."""
    return of(
        {
            "stage": "export",
            "format": EXPORT_FORMAT,
            "inputs": list(inputs),
            "export": of_model(task.spec.export),
        }
    )


def engine(export_fingerprint: str) -> str:
    """Fingerprint the engine. export_fingerprint: of what it is built from."""
    return of({"stage": "engine", "format": ENGINE_FORMAT, "export": export_fingerprint})


def evaluate(task: Task, train_fingerprint: str) -> str:
    """Fingerprint the measurements. train_fingerprint: of quantize, where that made the student."""
    return of(
        {
            "stage": "evaluate",
            "format": EVALUATE_FORMAT,
            "train": train_fingerprint,
            "evaluation": _evaluation(task.spec.evaluation),
        }
    )


def _evaluation(asked: Evaluation) -> Any:
    """Return the evaluation without what is not asked for and earlier releases did not have."""
    found = of_model(asked)
    if asked.benchmark is None:
        del found["benchmark"]
    elif asked.benchmark.vllm is None:
        del found["benchmark"]["vllm"]
    return found


def publish(task: Task, inputs: Iterable[str]) -> str:
    """Fingerprint the publication. inputs: fingerprints of train and evaluate."""
    targets = [of_model(target) for target in task.spec.publish]
    name = [task.job.namespace, task.job.name]
    return of(
        {
            "stage": "publish",
            "format": PUBLISH_FORMAT,
            "inputs": list(inputs),
            "targets": targets,
            "job": name,
        }
    )


def code_version() -> str:
    """Return the version of kubedistill that is running."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("kubedistill")
    except PackageNotFoundError:  # run from sources that are not installed
        return getattr(distill_api, "__version__", "0+unknown")


def lineage(task: Task, inputs: Mapping[str, str]) -> Lineage:
    """Say what an artifact is made from. inputs: `teacher` and `data`, digests or names."""
    return Lineage(
        teacher=inputs["teacher"],
        data=inputs["data"],
        recipe=recipe(task.spec),
        code_version=code_version(),
        seed=task.spec.training.seed,
    )
