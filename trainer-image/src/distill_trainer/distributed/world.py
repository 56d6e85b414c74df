"""The processes of one training, and the few things that they say to each other.

Nothing is pickled: what is not a tensor travels as JSON.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from distill_trainer.errors import PeerLost, TrainerError

TIMEOUT = timedelta(minutes=10)
"""How long a process waits for the others. A peer that dies is noticed at once, as its connection
is closed; a node that vanishes is noticed after this. Sending a large checkpoint takes less."""


@dataclass(frozen=True, slots=True)
class World:
    """A process among those that train together; one that is alone needs no process group."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this is the process that writes: progress, checkpoints, output, report."""
        return self.rank == 0

    def told(self, value: Any) -> Any:
        """Return the first process's value, a JSON value, in every process."""
        if self.size == 1:
            return value
        text = json.dumps(value).encode() if self.first else b""
        length = self.copied(torch.tensor([len(text)], dtype=torch.int64))
        content = torch.zeros(int(length), dtype=torch.uint8)
        if self.first:
            content = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        return json.loads(bytes(self.copied(content).tolist()))

    def copied(self, tensor: Tensor) -> Tensor:
        """Return the first process's tensor in every process, on this tensor's device."""
        if self.size == 1:
            return tensor
        moved = tensor.detach().to(self.device, copy=True).contiguous()
        dist.broadcast(moved, src=0)
        return moved.to(tensor.device)

    def anyone(self, *, flag: bool) -> bool:
        """Tell every process whether the flag is set in one of them; all have to ask."""
        if self.size == 1:
            return flag
        found = torch.tensor([int(flag)], device=self.device)
        dist.all_reduce(found, op=dist.ReduceOp.MAX)
        return bool(found.item())

    def average(self, tensor: Tensor) -> None:
        """Replace a tensor by its mean over the processes."""
        if self.size > 1:
            dist.all_reduce(tensor)
            tensor /= self.size

    def summed(self, values: Mapping[str, float]) -> dict[str, float]:
        """Add up numbers over the processes; every process has to name the same ones."""
        if self.size == 1:
            return dict(values)
        names = sorted(values)
        found = torch.tensor([values[name] for name in names], dtype=torch.float64)
        found = found.to(self.device)
        dist.all_reduce(found)
        return dict(zip(names, found.tolist(), strict=True))

    def rows(self, own: Tensor, counts: Sequence[int]) -> Tensor:
        """Put the rows of all processes below each other, by rank: [sum of counts, ...].

        own: [counts[rank], ...]. Without gradient: the loss is computed everywhere from all
        rows, so that each process needs only its own part of the rows' gradient.
        """
        if self.size == 1:
            return own.detach()
        padded = own.new_zeros((max(counts), *own.shape[1:]))
        padded[: len(own)] = own.detach()
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        return torch.cat([part[:count] for part, count in zip(found, counts, strict=True)])


ALONE = World()


def expected() -> bool:
    """Tell whether this process was started by torchrun, as one of several."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Join the processes that torchrun started; alone without it.

    Raises PeerLost where another one is lost: all of them end, and begin at the last checkpoint.
    """
    if not expected():
        yield World(device=device)
        return
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
        yield World(dist.get_rank(), dist.get_world_size(), device)
    except TrainerError:
        raise
    except Exception as error:
        if not lost(error):
            raise
        raise PeerLost("Another process", type(error).__name__) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out")


def lost(error: BaseException) -> bool:
    """Tell whether an error says that a peer does not answer any more; gloo says it by text."""
    return isinstance(error, dist.DistError) or any(words in str(error) for words in _LOST)
