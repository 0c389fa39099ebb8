"""Settings of torch that a result's bits depend on, the same wherever stages run."""

from __future__ import annotations

import os

import torch


def prepare_torch(threads: int) -> None:
    """Sets threads and determinism for this process.

    On a CPU a result has the same bits for any number of threads. On CUDA the quickest
    algorithm is not searched for, as the search may end differently from one run to the
    next, and float32 stays float32.
    """
    # Read by cuBLAS when it starts; without it its sums may change order.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=True)
