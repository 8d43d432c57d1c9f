"""jaxflow: the gradient flow of one-hidden-layer ReLU networks, in JAX."""

# The statements of the paper, laid over any run.
from . import theory as theory

# Many runs.
from ._ensemble.carry_final import carry_final as carry_final
from ._ensemble.grid import run_key as run_key
from ._ensemble.open_ensemble import open_ensemble as open_ensemble
from ._ensemble.simulate_ensemble import simulate_ensemble as simulate_ensemble

# How the weights move.
from ._methods.base import AbstractMethod as AbstractMethod
from ._methods.diffrax_flow import LiteralFlow as LiteralFlow
from ._methods.diffrax_flow import RungeKuttaFlow as RungeKuttaFlow
from ._methods.event_flow import EventFlow as EventFlow
from ._methods.filippov_flow import FilippovFlow as FilippovFlow
from ._methods.gradient_descent import GradientDescent as GradientDescent
from ._methods.gradient_flow import GradientFlow as GradientFlow

# What is recorded of a run.
from ._observables import OBSERVABLES as OBSERVABLES
from ._observables import Observable as Observable
from ._observables import largest_kernel_eigenvalue as largest_kernel_eigenvalue
from ._observables import sharpness as sharpness
from ._observables import smallest_kernel_eigenvalue as smallest_kernel_eigenvalue

# What is trained.
from ._problem.dataset import Dataset as Dataset
from ._problem.inputs import AbstractInputs as AbstractInputs
from ._problem.inputs import AntipodalInputs as AntipodalInputs
from ._problem.inputs import DenseInputs as DenseInputs
from ._problem.inputs import GramInputs as GramInputs
from ._problem.inputs import OrthogonalInputs as OrthogonalInputs
from ._problem.network import Network as Network
from ._problem.network import loss as loss
from ._problem.network import predict as predict
from ._problem.network import residuals as residuals
from ._problem.network import squared_norms as squared_norms
from ._problem.network import velocity as velocity
from ._problem.tangent_kernel import TangentKernel as TangentKernel
from ._problem.tangent_kernel import tangent_kernel as tangent_kernel
from ._progress import Progress as Progress

# Random problems.
from ._sampling.covered_initialisation import (
    CoveredInitialisation as CoveredInitialisation,
)
from ._sampling.directions import sample_preactivations as sample_preactivations
from ._sampling.initialisation import GroupInitialisation as GroupInitialisation
from ._sampling.initialisation import Initialisation as Initialisation
from ._sampling.inputs import sample_inputs as sample_inputs
from ._sampling.problem import sample_problem as sample_problem
from ._sampling.targets import group_targets as group_targets
from ._sampling.targets import uniform_targets as uniform_targets
from ._sampling.teacher import TeacherTargets as TeacherTargets
from ._sampling.width_rule import width_rule as width_rule

# One run, what is seen of it, when it ends and how.
from ._simulate import simulate as simulate
from ._snapshot import Snapshot as Snapshot
from ._solution import Results as Results
from ._solution import Solution as Solution
from ._stops import AbstractStop as AbstractStop
from ._stops import LossBelow as LossBelow
from ._stops import LossFallen as LossFallen
from ._stops import Stationary as Stationary
from ._stops import certificate as certificate
from .records._version import version_of as _version_of

# A checkout that is on the path, not installed: pyproject.toml has its version.
__version__ = _version_of("jaxflow") or "0+unknown"
