"""Settings of PyTorch that make a run repeatable."""

import os

import torch


def settle(threads: int, gpus: int = 0) -> torch.device:
    """Fix threads and kernels so that equal work gives equal bits; return the device to use.

    threads: of tensor operations; the order of sums depends on it. gpus: accelerators that the
    pod was given; 0 stays on the CPU even where the node has some.
    """
    # cuBLAS is deterministic only with a workspace of fixed size.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # Adam's moments of rarely seen words decay into denormals, which a CPU computes slowly.
    torch.set_flush_denormal(True)
    return torch.device("cuda" if gpus and torch.cuda.is_available() else "cpu")
