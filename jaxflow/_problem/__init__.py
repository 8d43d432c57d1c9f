"""What is trained: the inputs and their geometry, the examples, the network.

- `inputs.py`: what a neuron's weights look like in memory, and the two linear maps.
- `dataset.py`: examples (x_i, y_i). `geometry.py`: the choice of their geometry.
- `tangent_kernel.py`: the operator that rules the end of a run, and its extremes.
- `sharpness.py`: the largest eigenvalue of the Hessian of the loss, beside it.
- `network.py`: the network, its loss and its velocity. `activation.py`: its σ.
- `rates.py`: the rates at which its two layers are trained.
- `run_problem.py`: the same as a run holds it: user coordinates ⇄ run coordinates.
- `padding.py`, `size_buckets.py`: the sizes at which a run is computed.
"""
