#!/usr/bin/env bash
# All benchmarks that make sense on a GPU, on a machine that has a driver and Python
# 3.11 to 3.13 and nothing else, in under ten minutes:
#
#     benchmarks/gpu.sh                     # full
#     benchmarks/gpu.sh --size quick        # only whether it works; also without a GPU
#
# Leaves a few small files in results/benchmarks/<device>/ and their report beside it,
# results/benchmarks/README.md.
# PYTHON: an interpreter that has everything already; then nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${PYTHON:-}" ]; then
    "${BASE_PYTHON:-python3}" -m venv .venv-gpu
    PYTHON=.venv-gpu/bin/python
    "$PYTHON" -m pip install --quiet --disable-pip-version-check \
        -e '.[experiments,benchmarks]' "${JAX_REQUIREMENT:-jax[cuda12]}"
fi
export XLA_PYTHON_CLIENT_PREALLOCATE=false

# "cpu" or the accelerator's platform, then the modules for that many devices.
read -r platform modules < <("$PYTHON" -c '
import jax
from benchmarks.__main__ import on_accelerators
devices = jax.devices()
print(devices[0].platform, *on_accelerators(len(devices)))' | tail -n 1) || true
if [ -z "${platform:-}" ]; then
    echo "gpu.sh: jax does not start; see above." >&2
    exit 1
fi
if [ "$platform" = cpu ] && [[ " $* " != *" --size quick "* ]]; then
    echo "gpu.sh: jax sees no accelerator here, only a CPU. Is the driver installed, and" >&2
    echo "does JAX_REQUIREMENT (jax[cuda12] by default) fit it? Without an accelerator," >&2
    echo "'gpu.sh --size quick' shows whether the script works, and 'make benchmarks'" >&2
    echo "measures the CPU." >&2
    exit 1
fi
only=()
if [[ " $* " != *" --only "* ]]; then
    read -r -a names <<< "$modules"
    only=(--only "${names[@]}")
fi
# SECONDS: since the start of this script, installation included.
exec "$PYTHON" -m benchmarks --limit 240 --budget "$((580 - SECONDS))" "${only[@]}" "$@"
