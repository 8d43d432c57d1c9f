"""What jaxflow is timed against: the same descent and the same flow by other means.

- `torch_loop`: autograd and `torch.optim.SGD`, the loop that the paper describes.
- `torch_batched`: PyTorch with the gradient written out, many networks at once.
- `numpy_loop`: plain NumPy, one network.
- `flow_solvers`: SciPy's and torchdiffeq's ODE solvers on the literal field.

All take and return NumPy arrays in the precision that is to be used, and leave their
arguments as they were. This module needs neither torch nor torchdiffeq.
"""

import dataclasses
import importlib.metadata

import numpy as np


@dataclasses.dataclass(frozen=True)
class Descent:
    """Where a run of gradient descent ended.

    **Attributes:**

    - `w`, `a`: the last weights, shaped like those given.
    - `losses`: L at every reading, before the step that follows it: shape (readings,),
      (readings, B) for a batch.
    - `steps`: the number of steps made.
    - `engine`: how they were computed.
    """

    w: np.ndarray
    a: np.ndarray
    losses: np.ndarray
    steps: int
    engine: str


@dataclasses.dataclass(frozen=True)
class Flow:
    """Where a solver of the flow ended.

    **Attributes:**

    - `w`, `a`: the weights at `time`.
    - `loss`: L there.
    - `time`: the time asked for, or where the solver was when it was given up.
    - `evaluations`: how often it evaluated the field.
    - `finished`: whether it reached the time asked for.
    """

    w: np.ndarray
    a: np.ndarray
    loss: float
    time: float
    evaluations: int
    finished: bool


def available() -> dict[str, str | None]:
    """The version of every package that the peers use, None where it is missing."""
    return {name: _version(name) for name in ("numpy", "scipy", "torch", "torchdiffeq")}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
