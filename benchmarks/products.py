"""Matrix products: how many a run executes, and how fast this machine can do them.

    with counting() as counter: train(...)       counter.get_total_flops(), attention included, backward included
    python benchmarks/products.py THREADS        {"2048 x 2048 x 2048": {"matmul": 2.1e11, "onednn": 4.7e11}, ...}

Only multiplications that run are counted. A causal attention kernel skips the blocks above the diagonal, so it counts
as half; norms, activations, softmax and the optimizer count as nothing.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

#: (rows, inner, columns): one large square, then what a 17M Llama multiplies for a batch of 4,096 tokens.
SHAPES = ((2048, 2048, 2048), (4096, 384, 384), (4096, 384, 1024), (4096, 1024, 384), (2048, 384, 16_000))


def _attention(query: Any, key: Any, *, causal: bool, products: int) -> int:
    batch, heads, rows, width = query
    columns = key[-2]
    whole = products * 2 * batch * heads * rows * columns * width
    return whole // 2 if causal and rows == columns else whole


def _forward(query: Any, key: Any, value: Any, dropout: float = 0.0, causal: bool = False, **_: Any) -> int:
    return _attention(query, key, causal=causal, products=2)


def _backward(
    grad: Any, query: Any, key: Any, value: Any, out: Any, lse: Any, dropout: float, causal: bool, **_: Any
) -> int:
    return _attention(query, key, causal=causal, products=5)


def _linear(inputs: Any, weight: Any, *_: Any, **__: Any) -> int:
    rows = 1
    for size in inputs[:-1]:
        rows *= size
    return 2 * rows * int(weight[0]) * int(weight[1])


def counting() -> FlopCounterMode:
    """A context that counts the products of everything inside, in floating-point operations."""
    aten = torch.ops.aten
    formulas: dict[Any, Any] = {
        aten._scaled_dot_product_flash_attention_for_cpu: _forward,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _backward,
    }
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        formulas[torch.ops.mkldnn._linear_pointwise] = _linear
    return FlopCounterMode(display=False, custom_mapping=formulas)


def _rate(product: Callable[[], object], operations: int, seconds: float) -> float:
    """Median operations a second over as many calls as fit in `seconds`."""
    product()
    product()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        product()
        times.append(time.perf_counter() - start)
    return operations / statistics.median(times)


def peaks(seconds: float = 0.5) -> dict[str, dict[str, float]]:
    """For each shape, what `torch.matmul` reaches and, where torch has it, oneDNN."""
    found: dict[str, dict[str, float]] = {}
    for rows, inner, columns in SHAPES:
        left, right = torch.randn(rows, inner), torch.randn(columns, inner)
        operations = 2 * rows * inner * columns
        rates = {"matmul": _rate(lambda a=left, b=right: a @ b.t(), operations, seconds)}  # type: ignore[misc]
        if torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
            linear = torch.ops.mkldnn._linear_pointwise
            rates["onednn"] = _rate(
                lambda a=left, b=right, f=linear: f(a, b, None, "none", [], ""),  # type: ignore[misc]
                operations,
                seconds,
            )
        found[f"{rows} x {inner} x {columns}"] = rates
    return found


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    print(json.dumps(peaks()))
