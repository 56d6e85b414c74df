"""Publish: the student goes where its users find it, with card, report and lineage."""

import shutil
from collections.abc import Mapping
from typing import Final

from distill_api.names import Reason, Stage
from distill_api.outcome import GateAction, Target
from distill_api.status import Artifact, EvaluationStatus
from distill_api.wire import Report, Task

from distill_trainer import fingerprints
from distill_trainer.artifacts import Output
from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.publishing import bundle as bundles
from distill_trainer.publishing import to_folder, to_oci
from distill_trainer.publishing.bundle import Bundle, Material
from distill_trainer.publishing.target import Parcel, Published

TAG_LIMIT: Final = 128
ARTIFACT: Final = "artifact.json"


def run(context: Context) -> Report:
    """Push the student to every target; only when all have it there is an artifact."""
    trained, evaluated = (
        context.workspace.output(stage) for stage in (Stage.TRAIN, Stage.EVALUATE)
    )
    evaluation = evaluated.manifest.report.evaluation
    _check_verdict(context.task, evaluation)
    inputs = [trained.fingerprint, evaluated.fingerprint]
    fingerprint = fingerprints.publish(context.task, inputs)
    if done := context.workspace.find(Stage.PUBLISH, fingerprint):
        return done.reused()
    material = _material(context, trained, evaluated, evaluation)
    bundle = _assemble(context, material)
    parcel = _parcel(context, bundle, material)
    places = [deliver(target, parcel) for target in context.task.spec.publish]
    artifact = _artifact(places, bundle, material)
    draft = context.workspace.draft(Stage.PUBLISH, fingerprint)
    content = artifact.model_dump_json(by_alias=True, indent=1)
    draft.folder.write(ARTIFACT, content.encode())
    shutil.rmtree(bundle.path)
    return draft.commit(_report(fingerprint, artifact, bundle), inputs=trained.inputs)


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
    return Material(
        task=context.task,
        trained=trained.path,
        evaluated=evaluated.path,
        prepared=prepared.path,
        lineage=lineage or fingerprints.lineage(context.task, prepared.inputs),
        evaluation=evaluation,
    )


def _assemble(context: Context, material: Material) -> Bundle:
    folder = context.scratch / "publish" / "bundle"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return bundles.assemble(material, folder)


def _parcel(context: Context, bundle: Bundle, material: Material) -> Parcel:
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
        tell=tell,
    )


def annotations(material: Material, bundle: Bundle) -> Mapping[str, str]:
    """Return what the manifest tells; no time, so that equal content has an equal digest."""
    lineage = material.lineage
    found = {
        "org.opencontainers.image.title": material.task.job.name,
        "org.opencontainers.image.description": "Embedding model distilled by kubedistill",
        "io.kubedistill.weights": bundle.weights_digest,
        "io.kubedistill.teacher": lineage.teacher,
        "io.kubedistill.data": lineage.data,
        "io.kubedistill.recipe": lineage.recipe,
        "io.kubedistill.version": lineage.code_version,
    }
    if material.evaluation is not None:
        found["io.kubedistill.verdict"] = material.evaluation.verdict
    return found


def deliver(target: Target, parcel: Parcel) -> Published:
    """Publish to one target."""
    if target.oci is not None:
        return to_oci.publish(target.oci, parcel)
    if target.s3 is not None:
        return to_folder.publish_uri(target.s3, parcel)
    if target.pvc is not None:
        return to_folder.publish_volume(target.pvc, parcel)
    raise BadInput(
        Reason.BAD_RECIPE,
        "publish.huggingFace is not available in this release yet: publish to oci, s3 or pvc",
    )


def _artifact(places: list[Published], bundle: Bundle, material: Material) -> Artifact:
    first, *others = places
    return Artifact(
        uri=first.uri,
        digest=first.digest,
        weights_digest=bundle.weights_digest,
        size_bytes=bundle.size,
        media_type=first.media_type,
        formats=["safetensors"],
        also=[place.uri for place in others],
        lineage=material.lineage,
    )


def _report(fingerprint: str, artifact: Artifact, bundle: Bundle) -> Report:
    return Report(
        stage=Stage.PUBLISH,
        outcome="Done",
        fingerprint=fingerprint,
        summary=f"{artifact.uri} ({artifact.size_bytes / 1e6:.1f} MB)"[:400],
        artifact=artifact,
        lineage=artifact.lineage,
        facts={"targets": str(1 + len(artifact.also)), "files": str(len(bundle.files))},
    )
