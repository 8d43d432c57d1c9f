"""Known results of the field, reproduced: one module, one command and one figure each.

What they find is in `docs/known_results.md`.
"""
