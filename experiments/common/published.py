"""The numbers that are shown beside ours, with their source.

PAPER: what the text or a figure of the paper says. RELEASED: what its authors later
published with their code (2025). Ours only take their values of n and numbers of runs.
"""

# Section 5.1 and Figure 2: d = 100, p by the width rule, 25 runs for each n.
PAPER_THRESHOLD, PAPER_RUNS = 3000.0, 25
# Between 2900, where the text calls convergence very likely, and 3100, almost never.
PAPER_THRESHOLD_RANGE = (2900.0, 3100.0)
# "For n ≥ 3000, the loss increases to 0.6 %" of L(0).
PAPER_REMAINING_LOSS = 0.006

# The authors' first release: these probabilities, which make the printed figure. The
# width that gives them is not the one that the text states.
FIRST_RELEASE_PROBABILITY = {
    2850: 1.0,
    2900: 0.88,
    2950: 0.68,
    3000: 0.36,
    3050: 0.2,
    3100: 0.04,
    3150: 0.0,
}
FIRST_RELEASE_RUNS = 25

# The later release: p by the width rule, w(0) uniform, learning rate 1.
RELEASED_PROBABILITY = {
    1300: 1.0,
    1350: 0.9875,
    1400: 1.0,
    1450: 1.0,
    1500: 0.9625,
    1550: 0.85,
    1600: 0.85,
    1750: 0.0375,
    1800: 0.0,
}
RELEASED_RUNS = 80
RELEASED_THRESHOLD = 1651.0

# Figure 3, p = 30: N by d. Their estimate rounds N to about a multiple of d.
RELEASED_THRESHOLD_BY_D = {
    10: 30.0,
    20: 80.0,
    30: 150.0,
    40: 280.0,
    50: 400.0,
    70: 840.0,
    80: 961.0,
    100: 1301.0,
}
# Their own law and slope; the points above, which are not all of theirs, give others.
RELEASED_LAW_OF_D, RELEASED_SLOPE_OF_D = "linear: 15.2 d − 252", 1.71
# Figure 4, d = 30: N by p.
RELEASED_THRESHOLD_BY_P = {
    50: 219.0,
    100: 294.0,
    200: 347.0,
    250: 356.0,
    300: 371.0,
    400: 387.0,
}
RELEASED_LAW_OF_P, RELEASED_SLOPE_OF_P = "logarithmic: 72.4 log p − 42.8", 0.23

# Figure 5, d = 2000: slopes in log-log. The text: "close to −1/2".
PAPER_SLOPE = -0.5
RELEASED_SLOPES = {"mu": -0.81, "average_mu": -0.73, "lower": -0.73, "upper": -0.5}
FIRST_RELEASE_SLOPES = {
    "mu": -0.574,
    "average_mu": -0.546,
    "lower": -0.52,
    "upper": -0.516,
}
# log of the mean over runs at n = 1000.
RELEASED_LOG_MEAN_1000 = {
    "mu": -4.497,
    "average_mu": -4.219,
    "lower": -5.153,
    "upper": -0.568,
}
