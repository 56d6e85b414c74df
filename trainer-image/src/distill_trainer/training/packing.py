"""Several answers with their prompts in one row, each with positions of its own.

transformers (5) takes a position that does not follow the one before it for the beginning of
another sequence, and cuts the attention there: in the mask of `sdpa` and `eager`, in the lengths
that the flash kernels are told. What it cannot cut, such as the state of a recurrent layer, `check`
finds by trying.
"""

from collections.abc import Sequence

import numpy as np
import torch
from distill_api.names import Reason

from distill_trainer.errors import BadInput
from distill_trainer.students.causal import Causal
from distill_trainer.training import causal_pass, sequences
from distill_trainer.training.causal_pass import Wanted
from distill_trainer.training.sequences import Batch, Ids, Taught

ROW = 512
"""Tokens of a row on a CPU, more where one answer has more. What attention computes in vain grows
with a row's length: at 512 it is still a small part of all."""
ROW_ACCELERATOR = 2048


def passes(lengths: Ids, most: int, records: int) -> list[Ids]:
    """Cut answers into forward passes: positions into lengths, longest first.

    most: tokens of a pass, unless one answer alone has more. records: answers of a pass, at most.
    """
    parts: list[list[int]] = []
    held = 0
    for place in np.argsort(-lengths, kind="stable"):
        if not parts or held + lengths[place] > most or len(parts[-1]) == records:
            parts.append([])
            held = 0
        parts[-1].append(int(place))
        held += int(lengths[place])
    return [np.array(part, dtype=np.int64) for part in parts]


def rows(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Put each length, longest first, into the fullest row that has room: best fit, decreasing.

    size: of a row; a longer length makes all rows as long. Returns positions into lengths.
    """
    size = max(size, *lengths)
    found: list[list[int]] = []
    room: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda one: -lengths[one]):
        length = lengths[place]
        fitting = [number for number, left in enumerate(room) if left >= length]
        if not fitting:
            fitting = [len(room)]
            found.append([])
            room.append(size)
        best = min(fitting, key=lambda number: room[number])
        found[best].append(place)
        room[best] -= length
    return found


def pack(taught: Sequence[Taught], pad_id: int, device: torch.device) -> Batch:
    """Put answers into as few rows as they need."""
    size = ROW if device.type == "cpu" else ROW_ACCELERATOR
    chosen = rows([len(one) for one in taught], size)
    return sequences.lay([[taught[place] for place in row] for row in chosen], pad_id, device)


@torch.no_grad()
def check(model: Causal) -> None:
    """Refuse a model in which a token sees the sequence before its own in the same row."""
    known = np.arange(1, 7, dtype=np.int64)
    own = Taught(known[:2], known[2:4])
    device, pad = model.model.device, model.tokenizer.pad_token_id
    alone = causal_pass.look(model, sequences.pad([own], pad, device), Wanted()).hidden
    befores = (Taught(known[4:5], known[5:]), Taught(known[2:5], known[:3]))
    packed = [sequences.lay([[before, own]], pad, device) for before in befores]
    try:
        seen = [causal_pass.look(model, batch, Wanted()).hidden[-2:] for batch in packed]
    except TypeError:  # knows no positions
        seen = [torch.full_like(alone, torch.nan)]
    if not all(torch.allclose(one, alone, rtol=1e-3, atol=1e-4) for one in seen):
        raise BadInput(
            Reason.BAD_RECIPE,
            f"training.packing does not work with models of type {model.model.config.model_type}:"
            " a token sees the answers before its own in the same row. Set it to false",
        )
