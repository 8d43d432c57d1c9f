#!/usr/bin/env bash
# All benchmarks that make sense on a GPU, on a machine that has a driver and Python
# 3.11 to 3.13 and nothing else, in under ten minutes:
#
#     benchmarks/gpu.sh                     # full
#     benchmarks/gpu.sh --size quick        # only whether it works; also without a GPU
#
# Leaves a few small files in benchmarks/results/<device>/ and benchmarks/README.md.
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
exec "$PYTHON" -m benchmarks --limit 240 --budget 540 "$@"
