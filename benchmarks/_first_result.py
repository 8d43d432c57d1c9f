"""From `import jaxflow` to a result, in a process of its own: the worker of
`first_result`. Takes JSON on its command line and prints JSON."""

import json
import sys
import time
from typing import Any


def main(options: dict[str, Any]) -> None:
    start = time.perf_counter()
    # Imported here: that takes a part of what is timed.
    import jax
    import numpy as np

    import jaxflow

    imported = time.perf_counter()
    n, d, seeds = options["n"], options["d"], options["seeds"]
    key, flow = jax.random.key(options["seed"]), jaxflow.GradientFlow(rtol=1e-5)
    times = np.linspace(0, options["last"], 50)

    def result() -> float:
        if seeds:
            runs = jaxflow.simulate_ensemble(
                key, n=n, d=d, seeds=seeds, inputs=options["inputs"], method=flow,
                times=times, progress=False,
            )  # fmt: skip
            return float(np.asarray(runs.final_loss).mean())
        problem = jaxflow.sample_problem(key, n=n[0], d=d, inputs=options["inputs"])
        return float(jaxflow.simulate(*problem, flow, times=times).loss[-1])

    loss = result()
    first = time.perf_counter()
    result()
    again = time.perf_counter()
    told = {
        "importing": imported - start,
        "first": first - start,
        "again": again - first,
        "loss": loss,
    }
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
