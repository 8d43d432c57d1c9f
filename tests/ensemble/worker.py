"""A small ensemble that tests run in processes of their own.

    python -m tests.ensemble.worker FOLDER [SEEDS] [PROCESS COUNT PORT]

Prints what time the call took (of a finished sweep, the second call), how many runs
were computed, and the losses, as hexadecimal. Without a folder ("-") they are kept in
memory.
"""

import sys
import time

import jax


def main(arguments):
    folder, seeds, *cluster = arguments
    if cluster:
        process, count, port = map(int, cluster)
        jax.distributed.initialize(f"localhost:{port}", count, process)
    import jaxflow

    computed = []

    def call():
        start = time.process_time()
        data = jaxflow.simulate_ensemble(
            jax.random.key(3),
            n=[20, 21, 33],
            d=40,
            p=6,
            seeds=int(seeds),
            method=jaxflow.GradientDescent(0.5),
            times=[0.0, 5.0, 40.0],
            stop=jaxflow.LossBelow(1e-3),
            folder=None if folder == "-" else folder,
            progress=lambda progress: computed.append(progress.done),
        )
        return data, time.process_time() - start

    data, seconds = call()
    if not computed:
        # Without what is done once in a process: imports, and the law of the problems.
        seconds = call()[1]
    print("seconds", seconds)
    print("devices", jax.device_count())
    print("computed", computed[-1] if computed else 0, "of", data.sizes["seed"] * 3)
    print("loss", data.loss.values.tobytes().hex())


if __name__ == "__main__":
    main(sys.argv[1:])
