"""Publish: the student goes where its users find it, with card, report and lineage."""

import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from distill_api.names import Reason, Stage
from distill_api.outcome import GateAction
from distill_api.recipe import Component
from distill_api.status import Artifact, EvaluationStatus, Publication
from distill_api.token_ids import TOKEN_IDS_FILE
from distill_api.wire import Report, Task

from distill_trainer import fingerprints
from distill_trainer.artifacts import Output
from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.publishing import bundle as bundles
from distill_trainer.publishing import delivery
from distill_trainer.publishing.bundle import Bundle, Material
from distill_trainer.publishing.target import Parcel, Published
from distill_trainer.sources.request import shown
from distill_trainer.workspace import Draft

TAG_LIMIT: Final = 128
ARTIFACT: Final = "artifact.json"
DESCRIPTIONS: Final = {
    Component.EMBEDDING: "Embedding model distilled by kubedistill",
    Component.RERANKER: "Reranker distilled by kubedistill",
    Component.GENERATOR: "Language model distilled by kubedistill",
    Component.QUERY_TRANSFORM: "Query transformer distilled by kubedistill",
}


def run(context: Context) -> Report:
    """Push the student to every target; only when all have it there is an artifact."""
    trained, evaluated = (
        context.workspace.output(stage) for stage in (Stage.TRAIN, Stage.EVALUATE)
    )
    evaluation = evaluated.manifest.report.evaluation
    _check_verdict(context.task, evaluation)
    exported = context.workspace.output(Stage.EXPORT) if context.task.spec.export else None
    built = _engine(context, exported)
    known = (trained, evaluated, exported, built)
    inputs = [one.fingerprint for one in known if one is not None]
    fingerprint = fingerprints.publish(context.task, inputs)
    if done := context.workspace.find(Stage.PUBLISH, fingerprint):
        return done.reused()
    material = _material(context, trained, evaluated, evaluation)
    bundle = _assemble(context, material)
    draft = context.workspace.draft(Stage.PUBLISH, fingerprint)
    parcel = _parcel(context, bundle, material, draft)
    found = delivery.deliver(context.task.spec.publish, parcel)
    shutil.rmtree(bundle.path)
    if failure := delivery.failure(found):
        raise failure
    places = [one.published for one in found if one.published is not None]
    artifact = _artifact(places, bundle, material)
    content = artifact.model_dump_json(by_alias=True, indent=1)
    draft.folder.write(ARTIFACT, content.encode())
    report = _report(fingerprint, artifact, bundle, [one.publication for one in found])
    return draft.commit(report, inputs=trained.inputs, leave_out=[delivery.NOTES])


def _check_verdict(task: Task, evaluation: EvaluationStatus | None) -> None:
    if evaluation is None or evaluation.verdict == "Passed":
        return
    if task.spec.evaluation.on_missed_gate is GateAction.STOP:
        raise BadInput(
            Reason.QUALITY_GATE_FAILED,
            f"The student is not published: {evaluation.explanation[:900]}",
        )


def _material(
    context: Context, trained: Output, evaluated: Output, evaluation: EvaluationStatus | None
) -> Material:
    prepared = context.workspace.output(Stage.PREPARE)
    lineage = trained.manifest.report.lineage
    spec, outputs = context.task.spec, context.workspace
    smaller = outputs.output(Stage.QUANTIZE) if spec.quantize else None
    exported = outputs.output(Stage.EXPORT) if spec.export else None
    built = _engine(context, exported)
    return Material(
        task=context.task,
        trained=trained.path,
        quantized=smaller.path if smaller else None,
        exported=exported.path if exported else None,
        engine=built.path if built else None,
        evaluated=evaluated.path,
        prepared=prepared.path,
        lineage=lineage or fingerprints.lineage(context.task, prepared.inputs),
        evaluation=evaluation,
    )


def _engine(context: Context, exported: Output | None) -> Output | None:
    """Return the engine of the exported graph; None where no node could build one."""
    if exported is None:
        return None
    fingerprint = fingerprints.engine(exported.fingerprint)
    return context.workspace.find(Stage.ENGINE, fingerprint)


def _assemble(context: Context, material: Material) -> Bundle:
    folder = context.scratch / "publish" / "bundle"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return bundles.assemble(material, folder)


def _parcel(context: Context, bundle: Bundle, material: Material, draft: Draft) -> Parcel:
    def tell(done: int, total: int) -> None:
        context.progress.tell(done, total, {"megabytes": round(done / 1e6, 1)}, "publish")
        context.check_stop()

    return Parcel(
        bundle=bundle,
        annotations=annotations(material, bundle),
        tag=context.task.job.name[:TAG_LIMIT],
        secrets=context.secrets,
        volumes=context.volumes,
        scratch=context.scratch / "publish",
        notes=draft.folder.child(delivery.NOTES),
        now=datetime.now(UTC),
        served=frozenset(context.task.served or ()),
        tell=tell,
    )


def annotations(material: Material, bundle: Bundle) -> Mapping[str, str]:
    """Return what the manifest tells; no time, so that equal content has an equal digest."""
    lineage = material.lineage
    found = {
        "org.opencontainers.image.title": material.task.job.name,
        "org.opencontainers.image.description": DESCRIPTIONS[material.task.spec.component],
        "io.kubedistill.weights": bundle.weights_digest,
        "io.kubedistill.teacher": lineage.teacher,
        "io.kubedistill.data": lineage.data,
        "io.kubedistill.recipe": lineage.recipe,
        "io.kubedistill.version": lineage.code_version,
        "io.kubedistill.seed": str(lineage.seed),
        "io.kubedistill.job": f"{material.task.job.namespace}/{material.task.job.name}",
        "io.kubedistill.job.uid": material.task.job.uid,
        **_base(material),
    }
    if material.evaluation is not None:
        found["io.kubedistill.verdict"] = material.evaluation.verdict
    return found


def _base(material: Material) -> Mapping[str, str]:
    """Return what the student was made from: a model of its own, or its teacher."""
    spec = material.task.spec
    source = spec.student.model or spec.teacher.model
    if source is None:
        return {}
    name, _, digest = shown(source.uri).partition("@")
    if spec.student.model is None:
        digest = material.lineage.teacher
    known = {"digest": digest} if digest.startswith(fingerprints.PREFIX) else {}
    found = {f"io.kubedistill.base.{key}": value for key, value in {"name": name, **known}.items()}
    if name.startswith("oci://"):
        image = {"name": name.removeprefix("oci://"), **known}
        found |= {f"org.opencontainers.image.base.{key}": value for key, value in image.items()}
    return found


def _artifact(places: list[Published], bundle: Bundle, material: Material) -> Artifact:
    first, *others = places
    return Artifact(
        uri=first.uri,
        digest=first.digest,
        weights_digest=bundle.weights_digest,
        size_bytes=bundle.size,
        media_type=first.media_type,
        formats=material.formats,
        also=[place.uri for place in others],
        token_ids_digest=_token_ids(bundle),
        lineage=material.lineage,
    )


def _token_ids(bundle: Bundle) -> str | None:
    """Return the digest of the tokens of training; None for a student whose training kept none."""
    found = (entry.sha256 for entry in bundle.entries if entry.name == TOKEN_IDS_FILE)
    digest = next(found, None)
    return None if digest is None else fingerprints.PREFIX + digest


def _report(
    fingerprint: str, artifact: Artifact, bundle: Bundle, publications: list[Publication]
) -> Report:
    return Report(
        stage=Stage.PUBLISH,
        outcome="Done",
        fingerprint=fingerprint,
        summary=f"{artifact.uri} ({artifact.size_bytes / 1e6:.1f} MB)"[:400],
        artifact=artifact,
        publications=publications,
        lineage=artifact.lineage,
        facts={"targets": str(1 + len(artifact.also)), "files": str(len(bundle.entries))},
    )
