"""Each numbered statement of the paper held against simulation or an exact count.

One module per theme; each has `check(size, key)`, which returns rows of the table that
`python -m experiments.theory_checks` prints.
"""
