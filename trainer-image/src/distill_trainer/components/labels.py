"""What the label stage of every component does alike: inputs, reuse, shards and progress."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol

from distill_api.names import Stage
from distill_api.status import Usage
from distill_api.wire import Report

from distill_trainer import fingerprints
from distill_trainer.context import Context
from distill_trainer.labelling import claims
from distill_trainer.labelling.claims import Claims
from distill_trainer.preparing import production
from distill_trainer.sources import fetching
from distill_trainer.storage import Folder
from distill_trainer.teachers import opening
from distill_trainer.workspace import Draft

PIECES: Final = "shards"
"""Folder of the pieces."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Inputs:
    """Teacher and data; fetched no earlier than needed."""

    context: Context
    teacher: str = ""
    data: str = ""
    teacher_path: Path | None = None
    data_path: Path | None = None

    def known(self) -> bool:
        """Tell whether both digests are known without fetching anything."""
        spec = self.context.task.spec
        self.data = opening.pinned(spec.data.source) or ""
        if spec.teacher.endpoint is not None:
            self.teacher = opening.server(spec.teacher.endpoint)
        elif spec.teacher.model is not None:
            self.teacher = opening.pinned(spec.teacher.model) or ""
        return bool(self.data and self.teacher)

    def fetch_data(self) -> Path:
        """Fetch the data; learns its digest."""
        if self.data_path is None:
            fetched = fetching.fetch_data(self.context, self.context.task.spec.data.source)
            self.data_path, self.data = fetched.path, fetched.digest
        return self.data_path

    def fetch_teacher(self) -> Path | None:
        """Fetch the teacher's weights, where it has some; learns their digest."""
        if self.teacher_path is None and self.context.task.spec.teacher.model is not None:
            fetched = opening.fetch(self.context)
            self.teacher_path, self.teacher = fetched.path, fetched.digest
        return self.teacher_path

    @property
    def digests(self) -> dict[str, str]:
        """Digests of teacher and data by role, once both are known."""
        return {"teacher": self.teacher, "data": self.data}

    def fingerprint(self) -> str:
        """Return the labels' fingerprint, once both digests are known."""
        return fingerprints.label(self.context.task.spec, **self.digests)


def run[T](
    context: Context,
    read: Callable[[Context, Path], T],
    make: Callable[[Context, Draft, T, Inputs], Report],
) -> Report:
    """Make the labels of a task, or take those that are there already.

    read: turns the fetched data into what is labelled, and refuses bad data before the teacher is
    fetched. make: labels it into a draft, whose files survive an interruption.
    """
    request = fingerprints.label_request(context.task.spec)
    workspace = context.workspace
    if done := workspace.answered(Stage.LABEL, request):
        return done.reused()
    inputs = Inputs(context)
    if inputs.known() and (done := workspace.find(Stage.LABEL, inputs.fingerprint(), request)):
        return done.reused()
    data = read(context, inputs.fetch_data())
    production.sample(context)  # refused before the teacher works; compared by prepare
    inputs.fetch_teacher()
    if done := workspace.find(Stage.LABEL, inputs.fingerprint(), request):
        return done.reused()
    draft = workspace.draft(Stage.LABEL, inputs.fingerprint())
    if context.pod > 0:
        report = make(context, _beside(draft, context), data, inputs)
        return report.model_copy(update={"share": True, "usage": Usage()})
    report = make(context, draft, data, inputs)
    return draft.commit(report, inputs=inputs.digests, request=request)


def _beside(draft: Draft, context: Context) -> Draft:
    """Return a draft for a pod that is not the first: its pieces go to the common folder.

    Everything else is written, and the whole completed, by the first pod alone.
    """
    if not draft.folder.local:
        return draft
    place = context.scratch / "labels"
    place.mkdir(parents=True, exist_ok=True)
    pieces = draft.path / PIECES
    pieces.mkdir(parents=True, exist_ok=True)
    if not (place / PIECES).is_symlink():
        (place / PIECES).symlink_to(pieces)
    return replace(draft, folder=Folder(f"file://{place}", place))


@dataclass(slots=True)
class Counter:
    """How far labelling is, over all shards and attempts."""

    context: Context
    total: int
    done: int = 0
    made: int = 0
    """By this process."""
    tokens: int = 0
    started: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        """Count time from here: the teacher is loaded."""
        self.started = time.monotonic()
        self.tell()

    def add(self, texts: int, tokens: int) -> None:
        """Count a batch, or tokens of one under way, and tell; raises where the pod is to end."""
        self.done += texts
        self.made += texts
        self.tokens += tokens
        self.tell()
        self.context.check_stop()

    def tell(self) -> None:
        """Say how far it is."""
        seconds = max(time.monotonic() - self.started, 1e-9)
        metrics = {
            "textsPerSecond": round(self.made / seconds, 1),
            "tokensPerSecond": round(self.tokens / seconds, 1),
            "texts": self.done,
            "tokens": self.tokens,
        }
        self.context.progress.tell(self.done, self.total, metrics, "label")


type Tell = Callable[[int, int], None]
"""To be told texts and tokens of each batch; of one under way tokens alone."""


class Piece(claims.Piece, Protocol):
    """A run of texts, the work of one claim."""

    @property
    def start(self) -> int:
        """The first text."""
        ...

    @property
    def stop(self) -> int:
        """One after the last text."""
        ...


@dataclass(frozen=True, slots=True)
class Making[P: Piece]:
    """How pieces of the labels are made."""

    whole: Callable[[Path, P], bool]
    """Tells whether a piece's file is there and complete."""
    content: Callable[[P, Tell], bytes]
    """Makes a piece's file."""
    each: int = 1
    """What the counter counts for each text."""


def fill[P: Piece](draft: Draft, plan: list[P], counter: Counter, making: Making[P]) -> None:
    """Make every piece of a plan that is missing, beside other pods and jobs that make them too."""
    context, seen = counter.context, 0
    pods = context.task.spec.pod_template.label_pods
    own = Claims.of_pod(draft.folder, draft.workspace.job, pods, context.pod)

    def whole(piece: P) -> bool:
        return making.whole(draft.path / piece.name, piece)

    def count(piece: P) -> None:
        nonlocal seen
        seen += making.each * (piece.stop - piece.start)
        counter.done = max(counter.done, seen)

    for piece in claims.open_ones(plan, own, whole, count):
        if piece is None:
            log.info("others are labelling the rest of the same data; waiting for them")
            counter.tell()
            context.check_stop()
            continue
        began = time.monotonic()
        with own.held(piece):
            made = making.content(piece, counter.add)
            if (draft.path / piece.name).exists() and not whole(piece):
                draft.drop(piece.name)
            draft.folder.create(piece.name, made)
        count(piece)
        log.info(
            "%s, %d of %d: %d texts in %.1f s",
            *(piece.name, piece.number + 1, len(plan)),
            *(piece.stop - piece.start, time.monotonic() - began),
        )
