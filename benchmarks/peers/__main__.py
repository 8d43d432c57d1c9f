"""jaxflow against what a researcher would use today.

    python -m benchmarks.peers [--size quick]

(i) the loop that the paper describes, in PyTorch with autograd; (ii) batched PyTorch;
(iii) NumPy; (iv) SciPy and torchdiffeq for the flow. The same problems in the same
precision, with the answers compared before anything is timed, in turns on the same
cores. Without the extra `peers` only NumPy and SciPy take part.
"""

import dataclasses

from .. import _peers_descent, _peers_flow, _peers_threshold, _run

PARTS = (_peers_descent, _peers_flow, _peers_threshold)


@dataclasses.dataclass(frozen=True)
class Parameters:
    descent: _peers_descent.Parameters
    flow: _peers_flow.Parameters
    threshold: _peers_threshold.Parameters


PARAMETERS = {
    "full": Parameters(*(part.Parameters() for part in PARTS)),
    "quick": Parameters(*(part.tiny() for part in PARTS)),
}


def measure(parameters: Parameters, seed: int) -> _run.Findings:
    found = _run.Findings()
    _peers_descent.measure(found, parameters.descent, seed)
    _peers_flow.measure(found, parameters.flow, seed)
    _peers_threshold.measure(found, parameters.threshold, seed)
    return found


if __name__ == "__main__":
    _run.main("peers", PARAMETERS, measure, __doc__)
