"""Ensembles that tests interrupt, in processes of their own.

    python -m tests.ensemble.interrupted_worker SWEEP FOLDER

Prints "interruptible" once the first run is kept, and at the end how many runs were
computed, and a fingerprint of all that is in them. Without a folder ("-") they are kept
in memory.
"""

import hashlib
import signal
import sys
from typing import Any

import jax
import numpy as np

import jaxflow


def _endless(n, d, p):
    """Only the runs of n = 40 come to an end."""
    return [0.0, 5.0 if n == 40 else 1e9]


DESCENT: dict[str, Any] = {
    "method": jaxflow.GradientDescent(0.5),
    "times": [0.0, 5.0, 40.0],
}
ENDLESS: dict[str, Any] = {
    "n": [40, 20],
    "seeds": 2,
    "method": jaxflow.GradientDescent(0.5),
    "times": _endless,
}
# Own data, in the dimension that all sweeps have.
_x = np.random.default_rng(0).normal(size=(26, 40))
# So little memory that a batch in lockstep holds about as many runs as one that is not.
FEW = 400_000
# Many runs, since each of the calls that is interrupted finishes up to a hundred.
SWEEPS: dict[str, dict[str, Any]] = {
    "descent": {**DESCENT, "n": [20, 21, 33], "seeds": 800},
    "flow": {
        "n": [20, 21],
        "seeds": 1000,
        "method": jaxflow.GradientFlow(rtol=1e-4),
        "times": [0.0, 1.0, 4.0],
        "stop": jaxflow.LossBelow(),
    },
    "lockstep": {
        **DESCENT,
        "n": [20, 21, 33],
        "seeds": 800,
        "lockstep": True,
        "memory": FEW,
    },
    "teacher": {
        **DESCENT,
        "n": [20, 21, 33],
        "seeds": 80,
        "inputs": "sphere",
        "targets": jaxflow.TeacherTargets(3, first_layer="orthogonal", noise=0.1),
        "bias": 0.5,
    },
    "own data": {
        **DESCENT,
        "inputs": _x,
        "targets": np.sin(_x[:, 0]),
        "seeds": 240,
        "init": "small",
    },
    "endless": ENDLESS,
    "endless in lockstep": {**ENDLESS, "lockstep": True},
}


def main(sweep, folder):
    # Tests that a shell has started in the background ignore Ctrl-C, and so would this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    computed = [0]

    def progress(told):
        if computed[0] == 0:
            print("interruptible", flush=True)
        computed[0] = told.done

    data = jaxflow.simulate_ensemble(
        jax.random.key(3),
        d=40,
        p=6,
        folder=None if folder == "-" else folder,
        progress=progress,
        **SWEEPS[sweep],
    )
    bits = hashlib.sha256()
    for name in sorted(map(str, data.data_vars)):
        bits.update(np.ascontiguousarray(data[name].values).tobytes())
    print("computed", computed[0], "of", data.final_loss.size)
    print("bits", bits.hexdigest())


if __name__ == "__main__":
    main(*sys.argv[1:])
