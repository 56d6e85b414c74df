"""What the evaluate stage of every component does alike: opening, progress, timing, the report."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from distill_api.names import Stage
from distill_api.status import EvaluationStatus, Usage
from distill_api.wire import Report, Task
from distill_common import graphs

from distill_trainer import fingerprints
from distill_trainer.components.trained import STUDENT
from distill_trainer.context import Context
from distill_trainer.measures import contest, served, speed
from distill_trainer.measures.contest import Contest, Pair
from distill_trainer.measures.served import Load, Served
from distill_trainer.report import document, material
from distill_trainer.report.material import Folders
from distill_trainer.training import runtime

EVALUATION: Final = "evaluation.json"
REPORT: Final = "report.html"
UNTIL_LOAD: Final = 0.5
"""Part of the stage's progress that is done when a benchmark begins, where there is one."""
ROUNDS: Final = 3
ROUNDS_OF_ENDPOINT: Final = 1
"""Each call of an endpoint costs money."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a component measured; its files are in the draft already."""

    status: EvaluationStatus
    facts: Mapping[str, str]
    tokens: int
    """That the teacher was sent."""
    cpu_seconds: float = 0.0
    """Of servers in another container."""


def run(context: Context, judge: Callable[[Context, Path, Folders], Judged]) -> Report:
    """Measure the trained student and its teacher; judge writes evaluation.json and report.html.

    judge: told the draft's folder and those of the earlier stages.
    """
    trained = context.workspace.output(Stage.TRAIN)
    smaller = context.workspace.output(Stage.QUANTIZE) if context.task.spec.quantize else None
    published = smaller or trained
    fingerprint = fingerprints.evaluate(context.task, published.fingerprint)
    if done := context.workspace.find(Stage.EVALUATE, fingerprint):
        return done.reused()
    prepared = context.workspace.output(Stage.PREPARE)
    draft = context.workspace.draft(Stage.EVALUATE, fingerprint)
    began = time.monotonic()
    runtime.settle(context.task.threads, context.task.gpus)
    folders = Folders(prepared.path, trained.path, smaller.path if smaller else None)
    found = judge(context, draft.path, folders)
    status = found.status
    report = Report(
        stage=Stage.EVALUATE,
        outcome="Done",
        fingerprint=fingerprint,
        summary=f"{status.verdict}. {status.explanation} Speed-up {float(status.speedup):.2f}."[
            :400
        ],
        evaluation=status,
        usage=_usage(context, found, time.monotonic() - began),
        facts=found.facts,
    )
    return draft.commit(report, inputs=trained.inputs)


def _summary(status: EvaluationStatus) -> str:
    return f"{status.verdict}. {status.explanation} Speed-up {float(status.speedup):.2f}."


def _usage(context: Context, found: Judged, seconds: float) -> Usage:
    """Return what is used beside this container's own: a server's tokens, vLLM's container."""
    benchmark = context.task.spec.evaluation.benchmark
    vllm = benchmark.vllm if benchmark is not None else None
    # Held from the pod's start to its end, whatever they do.
    gpus = (vllm.resources.limits.gpu or vllm.resources.requests.gpu or 0) if vllm else 0
    return Usage(
        cpu_seconds=f"{found.cpu_seconds:.3f}" if found.cpu_seconds else None,
        gpu_seconds=f"{gpus * seconds:.3f}" if gpus else None,
        teacher_tokens=found.tokens if _asks_a_server(context) else None,
    )


def contested(context: Context, folder: Path, folders: Folders, found: Contest) -> EvaluationStatus:
    """Give the verdict on a contest of rankings, and write evaluation.json and report.html."""
    status = contest.status(found, context.task.spec.evaluation)
    _write(folder, found, status)
    document.write(folder / REPORT, material.gather(context.task, folders, found, status))
    return status


def trusts(task: Task) -> bool:
    """Tell whether a student's own code may run.

    It lies in its folder only where it was asked for when the student was fetched.
    """
    model = task.spec.student.model
    return bool(model and model.trust_remote_code)


def device(task: Task, folders: Folders) -> torch.device:
    """Return where both models are measured; a quantised student runs on the processor."""
    return torch.device("cpu") if folders.quantized else runtime.device(task.gpus)


def as_published(context: Context, model: Any, folders: Folders) -> Any:
    """Return the student as it is served: the model itself, or its quantised graph."""
    if folders.quantized is None:
        return model
    from distill_trainer.quantizing.running import InOnnx

    graph = folders.quantized / graphs.FOLDER / graphs.QUANTIZED
    return InOnnx(graph, model, threads=context.task.threads)


def student_folder(folders: Folders) -> Path:
    """Return the folder of a student that writes, as it is published: quantised where asked for."""
    return (folders.quantized or folders.trained) / STUDENT


def weights_size(folder: Path) -> int:
    """Count the bytes of all safetensors below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


def teller(context: Context, total: int, unit: str, share: float) -> Callable[[int], None]:
    """Return what is told how many more are measured; raises where the pod was asked to end.

    share: part of the stage's progress that measuring quality stands for.
    """
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        part = until_load(context) * share * done / max(total, 1)
        context.progress.tell(part, 1, {unit: done}, "evaluate quality")
        context.check_stop()

    return tell


def rounds(context: Context) -> int:
    """Return how often the throughput is measured."""
    return ROUNDS_OF_ENDPOINT if _asks_a_server(context) else ROUNDS


def timed(
    context: Context, models: Pair[speed.Embed], work: speed.Workload, share: float
) -> Pair[speed.Timings]:
    """Time both models in turns on the same work. share: progress that is done by now."""

    def tell(done: int, total: int) -> None:
        part = until_load(context) * (share + (1 - share) * done / max(total, 1))
        context.progress.tell(part, 1, {"calls": done}, "evaluate speed")
        context.check_stop()

    found = speed.measure({"student": models.student, "teacher": models.teacher}, work, tell)
    return Pair(found["student"], found["teacher"])


def latencies(timings: Pair[speed.Timings]) -> dict[str, list[float]]:
    """Return the seconds of the single requests, for evaluation.json."""
    both = {"student": timings.student, "teacher": timings.teacher}
    return {name: [round(one, 6) for one in own.latencies] for name, own in both.items()}


def write_json(folder: Path, content: Mapping[str, Any]) -> None:
    """Write evaluation.json."""
    (folder / EVALUATION).write_text(json.dumps(content, indent=1, ensure_ascii=False))


def under_load(found: Served | None) -> dict[str, Any]:
    """Return every time under load, and how late the load itself was; nothing without one."""
    if found is None:
        return {}
    told = {name: _times(load) for name, load in served.measured(found).items()}
    return {"benchmark": told}


def _times(load: Load) -> dict[str, Any]:
    times = {"seconds": load.seconds}
    if load.tokens is not None:
        times |= {"firstTokenSeconds": load.tokens.first, "outputTokenSeconds": load.tokens.each}
    return {
        **{name: [round(one, 6) for one in seconds] for name, seconds in times.items()},
        "lateSeconds": round(load.late, 6),
        **({"firstFailure": load.why} if load.why else {}),
    }


def until_load(context: Context) -> float:
    """Return the part of the stage's progress that is done when a benchmark begins."""
    return UNTIL_LOAD if context.task.spec.evaluation.benchmark else 1.0


def _asks_a_server(context: Context) -> bool:
    return context.task.spec.teacher.endpoint is not None


def _write(folder: Path, found: Contest, status: EvaluationStatus) -> None:
    """Write evaluation.json: the status, each query's values, and the worst queries."""
    both = {"student": found.results.student, "teacher": found.results.teacher}
    write_json(
        folder,
        {
            "evaluation": status.model_dump(mode="json", by_alias=True),
            "widths": {str(width): score for width, score in found.widths.items()},
            "perQuery": {
                name: {measure: own.round(6).tolist() for measure, own in result.values.items()}
                for name, result in both.items()
            },
            "latencySeconds": latencies(found.timings),
            **under_load(found.served),
            "worst": [contest.described(found, mistake) for mistake in contest.worst(found)],
        },
    )
