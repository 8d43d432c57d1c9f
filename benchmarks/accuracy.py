"""The error of the flow over what was asked for, on problems with right values.

    python -m benchmarks.accuracy [--size quick]

26 small problems with kinks, slides, dead neurons, collinear and nearly collinear
inputs (`tests/methods/flow_correlated.json`, from an independent integration from event
to event at 1e-12), by the method that `GradientFlow` takes for them and by the scheme
that it takes for large ones, in float64. Errors are those of the last time: of
(w_j, a_j) over max(‖w_j‖, |a_j|), the worst neuron; of L over itself; of μ over
max(μ, 1/T).
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import jaxflow

from . import _run
from ._contenders import float64

CASES = Path(__file__).parents[1] / "tests" / "methods" / "flow_correlated.json"
# An error below so many times rtol counts as within it.
WITHIN = 30


@dataclasses.dataclass(frozen=True)
class Parameters:
    rtols: tuple[float, ...] = (1e-3, 1e-4, 1e-6, 1e-8)
    cases: int | None = None
    """Only the first so many."""


PARAMETERS = {
    "full": Parameters(),
    "quick": Parameters(rtols=(1e-3,), cases=2),
    "gpu": Parameters(),
}


def measure(parameters: Parameters, seed: int) -> _run.Findings:
    found = _run.Findings(dtype="float64")
    cases = json.loads(CASES.read_text(encoding="utf-8"))[: parameters.cases]
    exact: list[list[Any]] = []
    stepping: list[list[Any]] = []
    with float64():
        for rtol in parameters.rtols:
            runs = [_run_case(case, jaxflow.EventFlow(rtol)) for case in cases]
            errors = np.array([run[:3] for run in runs]) / rtol
            exact.append([rtol, *_shares(errors), _steps(runs)])
            found.table(
                f"`EventFlow(rtol)`, {len(cases)} problems",
                ["rtol", *_columns("rtol"), "steps, median"],
                exact,
                f"Within: no error above {WITHIN} rtol.",
            )
            tolerance = 0.1 * rtol**0.5
            runs = [_run_case(case, jaxflow.FilippovFlow(tolerance)) for case in cases]
            errors = np.array([run[:3] for run in runs])
            said = np.array([run[4] for run in runs])
            worst = errors[:, 0]
            moves = (said > 0) & (worst > 0)
            ratio = np.median(said[moves] / worst[moves]) if moves.any() else None
            missed = int(np.sum(~(worst < 1e-2)))
            row = [rtol, tolerance, np.median(worst), np.max(worst), missed]
            row += [np.median(errors[:, 1]), ratio, _steps(runs)]
            stepping.append(row)
            found.table(
                f"`FilippovFlow(0.1 √rtol)`, {len(cases)} problems",
                [
                    "rtol",
                    "tolerance",
                    "error of (w, a), median",
                    "worst",
                    "above 0.01",
                    "error of L, median",
                    "estimated error over that of (w, a), median",
                    "steps, median",
                ],
                stepping,
                "The estimate, `stats['estimated_error']`, is a sum over steps.",
            )
    return found


def _columns(unit: str) -> list[str]:
    names = ("(w, a)", "L", "μ")
    return ["within", *(f"worst error of {name}, in {unit}" for name in names)]


def _shares(errors: Any) -> list[Any]:
    within = int(np.sum(np.all(errors <= WITHIN, axis=1)))
    return [f"{within} of {len(errors)}", *errors.max(axis=0)]


def _steps(runs: list[Any]) -> int:
    return int(np.median([run[3] for run in runs]))


def _run_case(case: dict[str, Any], method: Any) -> tuple[float, ...]:
    """The three errors, the number of steps, and the estimated error or 0."""
    x, y, w, a = (jnp.asarray(case[key], float) for key in ("x", "y", "w", "a"))
    sol = jaxflow.simulate(
        jaxflow.Dataset(jaxflow.DenseInputs(x), y),
        jaxflow.Network(w, a),
        method,
        times=case["times"],
        observe={},
    )
    final_w, final_a = np.array(case["final_w"]), np.array(case["final_a"])
    size = np.maximum(np.linalg.norm(final_w, axis=1), np.abs(final_a))
    gap = np.linalg.norm(np.asarray(sol.final.w) - final_w, axis=1)
    gap = np.maximum(gap, np.abs(np.asarray(sol.final.a) - final_a))
    of_loss = abs(float(sol.loss[-1]) / case["loss"][-1] - 1)
    rate = case["curvature"][-1]
    of_rate = abs(float(sol.curvature[-1]) - rate) / max(rate, 1 / case["times"][-1])
    return (
        float(np.max(gap / np.where(size > 0, size, 1))),
        of_loss,
        of_rate,
        int(sol.stats["steps"]),
        float(sol.stats.get("estimated_error", 0.0)),
    )


if __name__ == "__main__":
    _run.main("accuracy", PARAMETERS, measure, __doc__)
