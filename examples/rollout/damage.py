"""Spoil a published student as a bad conversion would: it serves as before, and ranks worse."""

import math
import shutil
from pathlib import Path

import torch
from distill_common import graphs
from safetensors.torch import load_file, save_file

SEED = 20_261_125
NOISE = 0.7
"""Standard deviation of what is added to a weight, relative to that of its matrix."""


def spoil(published: Path, into: Path, *, noise: float = NOISE) -> Path:
    """Copy a model's folder with noise in every matrix of its weights; the same for each run.

    Answers keep their shape, their speed and their status 200: neither counts of errors nor
    latencies tell the two apart. A quantised graph is left out: it has the weights as they were,
    and our server serves no graph that computes otherwise than the weights beside it.
    """
    left_out = shutil.ignore_patterns(graphs.QUANTIZED, graphs.NOTE)
    shutil.copytree(published, into, ignore=left_out)
    random = torch.Generator().manual_seed(SEED)
    for file in sorted(into.rglob("*.safetensors")):
        weights = load_file(file)
        save_file({name: _noisy(tensor, noise, random) for name, tensor in weights.items()}, file)
    return into


def _noisy(tensor: torch.Tensor, noise: float, random: torch.Generator) -> torch.Tensor:
    if tensor.ndim < 2 or not tensor.is_floating_point():
        return tensor
    scale = noise * float(tensor.float().std())
    if not math.isfinite(scale):
        return tensor
    return tensor + scale * torch.randn(tensor.shape, generator=random).to(tensor.dtype)
