"""Many runs, on every core, device and host.

- `simulate_ensemble.py`: the function, from its arguments to its dataset.
- `grid.py`: which runs there are. `batches.py`: which of them are computed together.
- `engine.py`: workers that compute batches. `program.py`: what is compiled for one.
- `storage.py`, `dataset.py`: where rows go, and the dataset that they become.
- `open_ensemble.py`: that dataset from a folder. `carry_final.py`: its runs that ended
  early, carried on.
- `config.py`: what settings are, so that a folder knows its own.
- `resources.py`: cores, devices, memory.
"""
