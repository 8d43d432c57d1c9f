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
from jaxflow._ensemble.program import Program
from jaxflow.theory import time_scale


def main(options: dict[str, Any]) -> None:
    if options.get("processes", 1) > 1:
        jax.distributed.initialize(
            options["coordinator"], options["processes"], options["process"]
        )
    spent = _watch_compilation()
    rounds = []
    for repeat in range(options.get("rounds", 1)):
        spent[0] = 0.0
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
        told = _told(runs, bool(options["stop"]))
        rounds.append({"seconds": seconds, "compiling": spent[0], **told})
    sys.stdout.write(json.dumps(rounds) + "\n")


def _told(runs: Any, stops: bool) -> dict[str, Any]:
    converged = np.asarray(runs.result) == jaxflow.Results.loss_below._value
    return {
        "networks": int(runs.final_loss.size),
        "network_steps": int(runs.steps.sum()),
        # A run without a stop does not tell.
        "converged": float(converged.mean()) if stops else None,
        "useful_share": float(runs.attrs["useful_share"]),
        "compilations": int(runs.attrs["compilations"]),
        "bits": hashlib.sha256(np.asarray(runs.final_loss).tobytes()).hexdigest()[:16],
    }


def _watch_compilation() -> list[float]:
    """Adds up the seconds of what raises `compilations`, and of nothing else: looking
    up a program and placing a batch are part of any call."""
    spent, original = [0.0], Program.compile

    def timed(self: Program, *args: Any) -> Any:
        before, start = self.compilations, time.perf_counter()
        found = original(self, *args)
        if self.compilations > before:
            spent[0] += time.perf_counter() - start
        return found

    Program.compile = timed  # type: ignore[method-assign, assignment]
    return spent


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
