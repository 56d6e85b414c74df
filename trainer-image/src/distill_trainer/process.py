"""Runs one stage: reads the task, does the work, writes the report, exits with its status."""

import argparse
import json
import logging
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from os import environ
from pathlib import Path
from typing import Final

from distill_api import wire
from distill_api.names import Exit, Reason, Stage
from distill_api.recipe import Component
from distill_api.status import Usage
from distill_api.wire import Failure, Report, Task
from pydantic import ValidationError

from distill_trainer import context as contexts
from distill_trainer import errors, reporting
from distill_trainer.context import Context, Places
from distill_trainer.distributed import hiding, launch
from distill_trainer.progress import HttpSender, Progress
from distill_trainer.usage import Meter

type Run = Callable[[Context], Report]

log = logging.getLogger("distill_trainer")


def _stage(module: str) -> Run:
    """Return a stage's function; its module is imported only when it runs, because torch is slow.

    A failure of the input is then told within a second.
    """

    def run(context: Context) -> Report:
        stage: Run = import_module(f"distill_trainer.stages.{module}").run
        return stage(context)

    return run


ROOMS: Final = {
    Component.EMBEDDING: "embedding",
    Component.RERANKER: "reranker",
    Component.GENERATOR: "generator",
    Component.QUERY_TRANSFORM: "querytransform",
}
"""Where the work of a component is."""


def _of_component(module: str) -> Run:
    """Return the function of a stage whose work depends on the component."""

    def run(context: Context) -> Report:
        room = ROOMS[context.task.spec.component]
        stage: Run = import_module(f"distill_trainer.components.{room}.{module}").run
        return stage(context)

    return run


def _swept(train: Run) -> Run:
    """Return the train stage: one student, or as many as a sweep asks for."""

    def run(context: Context) -> Report:
        if context.task.spec.sweep is None:
            return train(context)
        from distill_trainer.sweeping import run as sweep

        return sweep.run(context, train)

    return run


def _settled(after: Run) -> Run:
    """Return a stage after training, with the spec that the student was trained with."""

    def run(context: Context) -> Report:
        if context.task.spec.sweep is None:
            return after(context)
        from distill_trainer.sweeping import run as sweep

        return after(sweep.settled(context))

    return run


RUN: Final[Mapping[Stage, Run]] = {
    Stage.LABEL: _of_component("label"),
    Stage.PREPARE: _of_component("prepare"),
    Stage.TRAIN: _swept(_of_component("train")),
    Stage.QUANTIZE: _settled(_of_component("quantize")),
    Stage.EXPORT: _settled(_of_component("export")),
    Stage.ENGINE: _settled(_stage("engine")),
    Stage.EVALUATE: _settled(_of_component("evaluate")),
    Stage.PUBLISH: _settled(_stage("publish")),
    Stage.CLEANUP: _stage("cleanup"),
}
if set(RUN) != set(Stage):
    raise AssertionError("RUN needs exactly the stages")

OUTCOMES: Final = {
    Exit.DONE: "Done",
    Exit.TRY_AGAIN: "TryAgain",
    Exit.PEER_LOST: "TryAgain",
    Exit.GIVE_UP: "GiveUp",
}


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    task: Path
    report: Path
    places: Places
    hand_over: bool = False
    """Only lay out what another container of the pod works on."""


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line; every path has the pod's own as its default."""
    parser = argparse.ArgumentParser(prog="distill_trainer", description=__doc__)
    parser.add_argument("--task", type=Path, default=Path(wire.TASK_FILE))
    parser.add_argument("--report", type=Path, default=Path(wire.REPORT_FILE))
    parser.add_argument("--scratch", type=Path, default=Path(wire.SCRATCH_DIR))
    parser.add_argument("--volumes", type=Path, default=Path(wire.VOLUMES_DIR))
    parser.add_argument("--secrets", type=Path, default=Path(wire.SECRETS_DIR))
    parser.add_argument("--hand-over", action="store_true")
    given = parser.parse_args(arguments)
    places = Places(given.scratch, given.volumes, given.secrets)
    return Options(given.task, given.report, places, given.hand_over)


def main(arguments: Sequence[str], stop: threading.Event | None = None) -> Exit:
    """Do the task; whatever happens there is a report, where its file can be written at all.

    stop: set when the pod is asked to end.
    """
    logging.basicConfig(
        level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(message)s"
    )
    # Request lines of the HTTP libraries would drown ours, and can hold signed URLs.
    for noisy in ("httpx", "httpcore", "urllib3", "oras", "fsspec", "botocore", "aiobotocore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    options = parse(arguments)
    report, code = _do(options, arguments, stop or threading.Event())
    if report is not None:
        _write(launch.mine(options.report), report)
    return code


def _do(
    options: Options, arguments: Sequence[str], stop: threading.Event
) -> tuple[Report | None, Exit]:
    try:
        task = Task.model_validate_json(options.task.read_bytes())
    except (ValidationError, OSError) as error:
        return _unreadable(options.task, error), Exit.GIVE_UP
    _limit_threads(task.threads)
    hiding.hide()
    if launch.wanted(task):
        return launch.run(task, arguments, options.places.scratch, stop)
    progress = Progress(_sender())
    meter = Meter(task.gpus)
    try:
        log.info("%s of %s/%s", task.stage.value, task.job.namespace, task.job.name)
        context = contexts.build(task, launch.own(options.places), progress, stop)
        if options.hand_over:
            _hand_over(context)
            return None, Exit.DONE
        context.check_stop()
        report = RUN[task.stage](context)
    except Exception as error:  # noqa: BLE001 - the outermost door of the process
        return _failed(task, error, meter)
    else:
        log.info("%s", report.summary)
        used = meter.read(report.usage)
        if report.share:  # the first pod tells how long the stage took
            used = used.model_copy(update={"seconds": None})
        return report.model_copy(update={"usage": used}), Exit.DONE
    finally:
        progress.close()


def _hand_over(context: Context) -> None:
    """Lay out the work of another container; what goes wrong is told by the one that reports."""
    try:
        import_module("distill_trainer.stages.hand_over").run(context)
    except Exception as error:  # noqa: BLE001 - told again by the container that reports
        log.warning("nothing was handed over: %s", error)


def _limit_threads(threads: int) -> None:
    """Fix the threads of tensor operations; read by the libraries when they are first imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        environ[name] = str(threads)
    environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _failed(task: Task, error: Exception, meter: Meter) -> tuple[Report, Exit]:
    failure, code = errors.failure(error)
    if failure.reason is Reason.CRASHED:
        traceback.print_exception(error, file=sys.stdout)
    log.error("%s: %s", failure.reason.value, failure.message)
    report = Report(
        stage=task.stage,
        outcome=OUTCOMES[code],
        failure=failure,
        usage=meter.read(Usage()),
        publications=list(getattr(error, "publications", ())),
    )
    return report, code


def _unreadable(path: Path, error: Exception) -> Report:
    """Report on a task that is not one; its stage is read separately, if it can be."""
    try:
        stage = Stage(json.loads(path.read_bytes())["stage"])
    except (OSError, ValueError, KeyError, TypeError):
        stage = Stage.LABEL
    message = (
        f"The task in {path} cannot be read: operator and trainer image must have the same"
        f" version. {reporting.shorten(str(error), 900)}"
    )
    failure = Failure(reason=Reason.INVALID_SPEC, message=message)
    return Report(stage=stage, outcome="GiveUp", failure=failure)


def _sender() -> HttpSender | None:
    url = environ.get(wire.ENV_PROGRESS_URL)
    if not url or not launch.leads():
        return None
    ca, token = environ.get(wire.ENV_PROGRESS_CA), environ.get(wire.ENV_PROGRESS_TOKEN)
    return HttpSender(url, Path(ca) if ca else None, Path(token) if token else None)


def _write(path: Path, report: Report) -> None:
    """Write in place: the termination log is a bind mount that cannot be replaced."""
    content = reporting.fit(report)
    try:
        path.write_bytes(content)
    except OSError as error:
        log.error("the report could not be written to %s: %s", path, error)  # noqa: TRY400
        log.info("%s", content.decode())
