"""The statements of the paper as functions, to be laid over any run.

Each exists as its derivation gives it; where the print differs, as printed too, in
`jaxflow.theory.printed`. What holds is in `results/theory_check.md`, and why in
`docs/errata.md`. Functions of a `jaxflow.Snapshot` serve a network at rest,
`Snapshot.of(data, network)`, and are observables of a run as they stand. All are pure,
and work under `jax.jit` and `jax.vmap`.
"""

from .._sampling.width_rule import width_rule as width_rule
from . import printed as printed
from ._assumptions import Assumptions as Assumptions
from ._assumptions import antipodal_interaction as antipodal_interaction
from ._assumptions import check_assumptions as check_assumptions
from ._assumptions import dimension_constant as dimension_constant
from ._assumptions import dimension_rule as dimension_rule
from ._assumptions import interaction_limit as interaction_limit
from ._clt import CurvatureLimit as CurvatureLimit
from ._clt import NeuronMoments as NeuronMoments
from ._clt import curvature_mean as curvature_mean
from ._clt import neuron_moments as neuron_moments
from ._clt import orthogonal_limit as orthogonal_limit
from ._clt import sampled_limit as sampled_limit
from ._collapse import CollapseRange as CollapseRange
from ._collapse import collapse_range as collapse_range
from ._collapse import unfitted_loss as unfitted_loss
from ._curvature_bounds import average_curvature as average_curvature
from ._curvature_bounds import balance as balance
from ._curvature_bounds import corollary_width as corollary_width
from ._curvature_bounds import curvature as curvature
from ._curvature_bounds import curvature_floor as curvature_floor
from ._curvature_bounds import curvature_lower_bound as curvature_lower_bound
from ._curvature_bounds import curvature_matrix as curvature_matrix
from ._curvature_bounds import curvature_upper_bound as curvature_upper_bound
from ._curvature_bounds import limiting_curvature as limiting_curvature
from ._curvature_bounds import proved_rate_constant as proved_rate_constant
from ._curvature_bounds import rate_constant as rate_constant
from ._curvature_bounds import theorem_width as theorem_width
from ._groups import GroupFlow as GroupFlow
from ._groups import time_scale as time_scale
from ._groups import transition_time as transition_time
from ._groups import window as window
from ._groups import window_constant as window_constant
from ._initial import coverage_failure as coverage_failure
from ._initial import coverage_lower_bound as coverage_lower_bound
from ._initial import coverage_probability as coverage_probability
from ._initial import coverage_upper_bound as coverage_upper_bound
from ._initial import examples_for_width as examples_for_width
from ._initial import necessary_width as necessary_width
from ._initial import sufficient_width as sufficient_width
from ._limiting_law import CRITICAL_WIDTH_RATIO as CRITICAL_WIDTH_RATIO
from ._limiting_law import LimitingCurvatureLaw as LimitingCurvatureLaw
from ._limiting_law import (
    limiting_curvature_constant as limiting_curvature_constant,
)
from ._limiting_law import limiting_curvature_law as limiting_curvature_law
from ._orthogonal import GroupBounds as GroupBounds
from ._orthogonal import ceiling_constant as ceiling_constant
from ._orthogonal import curvature_ceiling as curvature_ceiling
from ._orthogonal import extinction_time as extinction_time
from ._orthogonal import group_bounds as group_bounds
from ._orthogonal import log_ratio_curvature as log_ratio_curvature
from ._orthogonal import mean_curvature as mean_curvature
from ._orthogonal import windowed_curvature as windowed_curvature
