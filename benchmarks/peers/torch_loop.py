"""The training loop that a researcher writes: a module, autograd, SGD, full batches."""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

from . import Descent


@contextlib.contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Within it torch computes on this many threads; None leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class OneHiddenLayer(torch.nn.Module):
    """h(x) = (1/p) Σ_j a_j (w_j·x)_+."""

    def __init__(self, w: torch.Tensor, a: torch.Tensor):
        super().__init__()
        self.w = torch.nn.Parameter(w)
        self.a = torch.nn.Parameter(a)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x @ self.w.T) @ self.a / len(self.a)


class Training:
    """One network with its data on its device; every `run` begins at the start.

    x (n, d), y (n,), w (p, d), a (p,).
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        w: np.ndarray,
        a: np.ndarray,
        lr: float,
        *,
        device: str = "cpu",
    ):
        self.lr = lr
        self.inputs, self.targets, *self.start = (
            torch.tensor(t, device=device) for t in (x, y, w, a)
        )

    def run(
        self, steps: int, *, stop: float | None = None, threads: int | None = None
    ) -> Descent:
        """At most `steps` steps of length `lr` on p·L, until L < `stop`. The loss is
        read at every step, as the stopping rule of the paper needs it."""
        with torch_threads(threads):
            network = OneHiddenLayer(*(t.clone() for t in self.start))
            optimizer = torch.optim.SGD(network.parameters(), lr=self.lr)
            p = len(network.a)
            losses: list[float] = []
            made = 0
            while made < steps:
                optimizer.zero_grad()
                loss = 0.5 * torch.mean((self.targets - network(self.inputs)) ** 2)
                losses.append(loss.item())
                if stop is not None and losses[-1] < stop:
                    break
                (p * loss).backward()
                optimizer.step()
                made += 1
            last_w, last_a = (
                t.detach().cpu().numpy().copy() for t in (network.w, network.a)
            )
        return Descent(last_w, last_a, np.array(losses), made, "autograd")
