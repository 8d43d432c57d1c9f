"""What the paper leaves open, decided by simulation: one command a question.

Each writes its runs, which a killed command goes on with, a table and a figure into
`results/open_questions/`. What they find is in `docs/findings/`, a page a question.
"""
