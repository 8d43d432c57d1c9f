"""The statements of the paper as functions, to be laid over any run."""

from ._groups import GroupFlow as GroupFlow
from ._groups import printed_cosine as printed_cosine
from ._groups import printed_squared_norm as printed_squared_norm
from ._groups import printed_window as printed_window
from ._groups import printed_window_constant as printed_window_constant
from ._groups import time_scale as time_scale
from ._groups import transition_time as transition_time
from ._groups import window as window
from ._groups import window_constant as window_constant
