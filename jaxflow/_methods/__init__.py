"""How the weights move.

- `base.py`: what every method is asked for. `loop.py`: the loop of those that step.
- `gradient_descent.py`: explicit Euler, and optax.
- `gradient_flow.py`: the flow to a tolerance, by the method that the inputs ask for:
    - `event_flow.py`: small problems, from one located kink to the next.
      `event_field.py` has the field between them and what happens at one,
      `event_origin.py` what becomes of a neuron whose w_j comes to zero, and
      `event_search.py` where in a step an event lies.
    - `diffrax_flow.py`: orthogonal and antipodal inputs, by a diffrax solver. How it is
      led across the kinks of the ReLU: `kinks.py` the mathematics, `kink_solver.py` the
      solver, `gated_runge_kutta.py` a step of it for few numbers.
    - `filippov_flow.py`: correlated inputs. `filippov_scheme.py` makes a step,
      `coupled_multipliers.py` solves for the pairs that slide along their kinks (one
      pair: `multipliers.py`; how inputs act on each other: `interactions.py`), and
      `stiff_modes.py` keeps the fastest modes from bounding it.
- `step_size.py`: the error of a step of the flow, and the length of the next.
- `ends.py`: when a run is spent, or at rest.
"""
