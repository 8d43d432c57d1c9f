"""One ensemble in a process of its own: the worker of `ensemble` and
`scaling_devices`. Takes JSON on its command line and prints JSON."""

import hashlib
import json
import sys
import time
from typing import Any

import jax
import numpy as np

import jaxflow
from jaxflow._batch import Program
from jaxflow.theory import time_scale


def main(options: dict[str, Any]) -> None:
    if options.get("processes", 1) > 1:
        jax.distributed.initialize(
            options["coordinator"], options["processes"], options["process"]
        )
    compiling = _watch_compilation()
    rounds = []
    for repeat in range(options.get("rounds", 1)):
        compiling[0] = 0.0
        start = time.perf_counter()
        # Other seeds, so that nothing is taken from an earlier round.
        seeds = range(repeat * options["seeds"], (repeat + 1) * options["seeds"])
        runs = jaxflow.simulate_ensemble(
            jax.random.key(options["seed"]),
            n=options["n"],
            d=options["d"],
            p=options.get("p"),
            seeds=seeds,
            inputs=options["inputs"],
            method=jaxflow.GradientDescent(1.0),
            times=lambda n, d, p: [options["horizon"] * float(time_scale(n, p))],
            stop=jaxflow.LossBelow() if options["stop"] else (),
            folder=options.get("folder"),
            progress=False,
        )
        seconds = time.perf_counter() - start
        rounds.append({"seconds": seconds, "compiling": compiling[0], **_told(runs)})
    sys.stdout.write(json.dumps(rounds) + "\n")


def _told(runs: Any) -> dict[str, Any]:
    converged = np.asarray(runs.result) == jaxflow.Results.loss_below._value
    return {
        "networks": int(runs.final_loss.size),
        "network_steps": int(runs.steps.sum()),
        "converged": float(converged.mean()),
        "useful_share": float(runs.attrs["useful_share"]),
        "compilations": int(runs.attrs["compilations"]),
        "bits": hashlib.sha256(np.asarray(runs.final_loss).tobytes()).hexdigest()[:16],
    }


def _watch_compilation() -> list[float]:
    """Adds up the seconds that programs take to compile."""
    spent, original = [0.0], Program.prepare

    def timed(self: Any, batch: Any, method: Any) -> Any:
        start = time.perf_counter()
        try:
            return original(self, batch, method)
        finally:
            spent[0] += time.perf_counter() - start

    Program.prepare = timed  # type: ignore[method-assign]
    return spent


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
