"""Labels that are a row of numbers for each text or pair: made in shards, none of them twice."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from distill_api.names import Reason
from numpy.typing import NDArray

from distill_trainer.components import labels
from distill_trainer.components.labels import Counter, Making, Tell
from distill_trainer.context import Context
from distill_trainer.errors import BadInput
from distill_trainer.labelling import shards
from distill_trainer.labelling.shards import Shard
from distill_trainer.workspace import Draft


class Closing(Protocol):
    """A teacher, of whom nothing needs to be known here but that it ends."""

    def close(self) -> None:
        """Let go of connections and memory."""
        ...


def shard_size(context: Context, local: int, batch: int) -> int:
    """Return the rows of a shard, which must not depend on how far an attempt came.

    local: rows where the teacher runs here. batch: rows of a request to an endpoint; its shards
    hold as many as are under way at once, so that little that was paid for is lost.
    """
    endpoint = context.task.spec.teacher.endpoint
    return local if endpoint is None else batch * endpoint.max_concurrency


def fill[T: Closing](
    context: Context,
    draft: Draft,
    plan: list[Shard],
    opened: Callable[[int], T],
    content: Callable[[T, Shard, Tell], bytes],
) -> None:
    """Make every shard of a plan that is missing.

    opened: gives the teacher, told the tokens that earlier attempts have spent; it is not asked
    where nothing is missing. content: makes a shard's file with it.
    """
    present = [shard for shard in plan if shards.is_whole(draft.path / shard.name, shard)]
    if len(present) == len(plan):
        return
    done = sum(shard.stop - shard.start for shard in present)
    counter = Counter(context, plan[-1].stop, done)
    teacher = opened(sum(shards.load(draft.path / shard.name)[1] for shard in present))
    counter.begin()
    try:
        making = Making(shards.is_whole, lambda shard, tell: content(teacher, shard, tell))
        labels.fill(draft, plan, counter, making)
    finally:
        teacher.close()


def refuse(bad: NDArray[np.bool_], what: str, rows: str, shown: Callable[[int], str]) -> None:
    """Refuse labels that nothing can be learnt from.

    bad: bool [rows]. what: how they are bad. rows: what a row stands for. shown: tells the text of
    a row. Raises BadInput, with the first of them.
    """
    places = np.flatnonzero(bad)
    if len(places):
        raise BadInput(
            Reason.BAD_MODEL,
            f"The teacher gives {what} for {len(places)} {rows}, first for"
            f" {shown(int(places[0]))}. Check the model (half precision overflows in some), or"
            f" remove these texts",
        )
