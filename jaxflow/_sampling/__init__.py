"""Random problems: the laws of inputs, targets and initial networks.

- `problem.py`: `sample_problem`, which draws one of each.
- `inputs.py`, `targets.py`, `initialisation.py`, `covered_initialisation.py`: the laws.
- `width_rule.py`: how many neurons, unless told.
- `random_numbers.py`: numbers of many sizes by few compiled generators.
"""
