"""Many networks at once in PyTorch, as fast as it goes: no autograd, gradients written
out, batched products, buffers allocated once, updates in place, the loss read rarely.

`dense_networks` take any inputs. `projected_networks` take orthogonal ones, where the
coordinates of w_j along the inputs evolve without the rest and one step costs O(np).

What was tried, per network and step, float32, two threads of one CPU:

- Dense, n = 2500, d = 100, p = 38, four networks at a time: 0.23 ms, nine tenths of it
  in the two products. Pairs laid out as (B, p, n) beat (B, n, p) (0.32 ms), and
  torch.compile makes no difference (0.22 ms), so it is off by default.
- Projected, n = 1500, p = 36: 13 μs in place, 8 to 10 μs compiled, best with a few
  steps in one graph; (B, n, p) is slower again (16 μs).

More networks at a time than the caches hold are no faster.
"""

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from . import Descent
from .torch_loop import torch_threads

# advance(count, read) makes `count` steps and returns L (B,) before the first of them,
# or None where it was not read.
Advance = Callable[[int, bool], torch.Tensor | None]

# Steps in one compiled graph: fewer calls, while compiling stays at seconds.
_UNROLLED = 4


def project(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(norms, u): ‖x_i‖ (..., n) and u_ji = ⟨w_j, x_i/‖x_i‖⟩ (..., p, n)."""
    norms = np.linalg.norm(x, axis=-1)
    return norms, w @ np.swapaxes(x / norms[..., None], -1, -2)


class Networks:
    """B networks of one shape on their device, with the buffers of a step; every `run`
    begins at the start.

    `engine` says how their steps are computed: "torch.compile", "eager", or "eager"
    with the reason why they could not be compiled.
    """

    def __init__(
        self,
        formulations: tuple[Callable[..., Advance], Callable[..., Any]],
        arrays: tuple[np.ndarray, ...],
        lr: float,
        compiled: bool,
        device: str,
    ):
        in_place, graph = formulations
        self._tensors = [torch.tensor(array, device=device) for array in arrays]
        self._start = [t.clone() for t in self._tensors[2:]]
        rate = lr / self._tensors[1].shape[1]
        self._advance = in_place(*self._tensors, rate)
        self._many: Advance | None = None
        self.engine = "eager"
        if compiled:
            trouble = _trouble_compiling(device)
            self.engine = f"eager ({trouble})" if trouble else "torch.compile"
        if self.engine == "torch.compile":
            # A number would be compiled in, and every other one compiled anew.
            rate_tensor = torch.tensor(
                rate, dtype=self._tensors[0].dtype, device=device
            )
            compiled_graph = _compiled(graph)
            self._many = lambda count, read: compiled_graph(
                *self._tensors, rate_tensor, count
            )

    def run(
        self,
        steps: int,
        *,
        stop: float | None = None,
        check_every: int = 20,
        threads: int | None = None,
    ) -> Descent:
        """At most `steps` steps of length `lr` on p·L. The losses are read every
        `check_every` steps; once all are below `stop` the run ends, at most four steps
        later."""
        if check_every < 1:
            raise ValueError(f"check_every must be at least 1, got {check_every}.")
        w, a = self._tensors[2:]
        # So that the losses are due at the beginning of a graph.
        unrolled = math.gcd(_UNROLLED, check_every) if self._many else 1
        with torch_threads(threads):
            for tensor, start in zip((w, a), self._start, strict=True):
                tensor.copy_(start)
            losses: list[torch.Tensor] = []
            made = 0
            while made < steps:
                read = made % check_every == 0
                if self._many and steps - made >= unrolled:
                    loss, count = self._many(unrolled, read), unrolled
                else:
                    loss, count = self._advance(1, read), 1
                made += count
                # A graph reads the loss whether or not it is asked for.
                if read and loss is not None:
                    losses.append(loss)
                    if stop is not None and bool((loss < stop).all()):
                        break
            history = torch.stack(losses) if losses else a.new_empty(0, len(a))
            last_w, last_a, history = (t.cpu().numpy().copy() for t in (w, a, history))
        return Descent(last_w, last_a, history, made, self.engine)


def dense_networks(
    x: np.ndarray,
    y: np.ndarray,
    w: np.ndarray,
    a: np.ndarray,
    lr: float,
    *,
    compiled: bool = False,
    device: str = "cpu",
) -> Networks:
    """Networks on any inputs: x (B, n, d), y (B, n), w (B, p, d), a (B, p). The first
    run of a shape with `compiled` takes seconds longer."""
    kind = (_dense_in_place, _dense_graph)
    return Networks(kind, (x, y, w, a), lr, compiled, device)


def projected_networks(
    norms: np.ndarray,
    y: np.ndarray,
    u: np.ndarray,
    a: np.ndarray,
    lr: float,
    *,
    compiled: bool = True,
    device: str = "cpu",
) -> Networks:
    """The same on orthogonal inputs: norms (B, n), y (B, n), u (B, p, n), a (B, p).

    `project` gives norms and u. `w` of what a run returns is u.
    """
    kind = (_projected_in_place, _projected_graph)
    return Networks(kind, (norms, y, u, a), lr, compiled, device)


def _dense_in_place(
    x: torch.Tensor, y: torch.Tensor, w: torch.Tensor, a: torch.Tensor, rate: float
) -> Advance:
    (batch, n, d), p = x.shape, a.shape[1]
    column, row = a[:, :, None], a[:, None, :]
    targets, x_transposed = y[:, None, :], x.mT
    z, gated = x.new_empty(batch, p, n), x.new_empty(batch, p, n)
    r = x.new_empty(batch, 1, n)
    w_velocity, a_velocity = x.new_empty(batch, p, d), x.new_empty(batch, p, 1)

    def advance(count: int, read: bool) -> torch.Tensor | None:
        loss = None
        for step in range(count):
            torch.bmm(w, x_transposed, out=z)
            z.relu_()
            torch.baddbmm(targets, row, z, alpha=-1 / p, out=r)
            if read and step == 0:
                loss = r.square().mean((1, 2)) / 2
            torch.bmm(z, r.mT, out=a_velocity)
            _gate(r, z, out=gated)
            # a_j is taken out of the sum over i, where it would cost a pass over pairs.
            torch.bmm(gated, x, out=w_velocity)
            w.addcmul_(w_velocity, column, value=rate)
            column.add_(a_velocity, alpha=rate)
        return loss

    return advance


def _projected_in_place(
    norms: torch.Tensor, y: torch.Tensor, u: torch.Tensor, a: torch.Tensor, rate: float
) -> Advance:
    batch, p, n = u.shape
    column, row = a[:, :, None], a[:, None, :]
    # q_i = ‖x_i‖ r_i is what the steps need.
    targets, scale = (norms * y)[:, None, :], (norms**2 / -p)[:, None, :]
    pairs = torch.empty_like(u)
    q, a_velocity = u.new_empty(batch, 1, n), u.new_empty(batch, p, 1)

    def advance(count: int, read: bool) -> torch.Tensor | None:
        loss = None
        for step in range(count):
            torch.clamp(u, min=0, out=pairs)
            torch.bmm(row, pairs, out=q)
            torch.addcmul(targets, scale, q, out=q)
            if read and step == 0:
                loss = (q[:, 0] / norms).square().mean(1) / 2
            torch.bmm(pairs, q.mT, out=a_velocity)
            _gate(q, pairs, out=pairs)
            u.addcmul_(pairs, column, value=rate)
            column.add_(a_velocity, alpha=rate)
        return loss

    return advance


def _gate(r: torch.Tensor, z: torch.Tensor, *, out: torch.Tensor) -> None:
    """r_i 1[z_ji > 0] in one pass, where a comparison and a product make two."""
    torch.ops.aten.threshold_backward.grad_input(r.expand_as(z), z, 0, grad_input=out)


def _dense_graph(x, y, w, a, rate, steps):
    p = a.shape[1]
    loss = None
    for _ in range(steps):
        z = torch.bmm(w, x.mT).relu()
        r = y - (a[:, :, None] * z).sum(1) / p
        loss = r.square().mean(1) / 2 if loss is None else loss
        a_velocity = (z * r[:, None, :]).sum(2)
        gated = torch.where(z > 0, r[:, None, :], 0)
        w.add_(rate * a[:, :, None] * torch.bmm(gated, x))
        a.add_(rate * a_velocity)
    return loss


def _projected_graph(norms, y, u, a, rate, steps):
    p = a.shape[1]
    loss = None
    for _ in range(steps):
        z = u.relu()
        r = y - norms * (a[:, :, None] * z).sum(1) / p
        loss = r.square().mean(1) / 2 if loss is None else loss
        q = norms * r
        a_velocity = (z * q[:, None, :]).sum(2)
        u.add_(torch.where(u > 0, rate * a[:, :, None] * q[:, None, :], 0))
        a.add_(rate * a_velocity)
    return loss


@functools.cache
def _compiled(graph: Callable[..., Any]) -> Callable[..., Any]:
    # Past this number of shapes torch would go on uncompiled without an error; with a
    # whole graph it raises one.
    config = torch._dynamo.config
    # Its name until torch 2.5.
    limits = ("recompile_limit", "cache_size_limit")
    setattr(config, next(name for name in limits if hasattr(config, name)), 64)
    return torch.compile(graph, fullgraph=True, dynamic=False)


@functools.cache
def _trouble_compiling(device: str) -> str | None:
    """Why torch.compile does not work on this machine (it needs a C++ compiler for
    CPUs), None where it does."""
    try:
        with warnings.catch_warnings():
            # torch's own, while it imports its compiler.
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.compile(lambda t: 2 * t + 1)(torch.ones(8, device=device))
    except Exception as error:
        return f"torch.compile failed: {type(error).__name__}"
    return None
