"""The short form of one half hour: the seed's second step, one entry a window in `sa-cloudfront-consolidated`."""

# mypy: disable-error-code="assignment, type-arg"

from osbot_utils.type_safe.primitives.core.Safe_UInt import Safe_UInt
from osbot_utils.type_safe.Type_Safe import Type_Safe

# fmt: off


class Schema__SA__Consolidation__Result(Type_Safe):
    """A value is None when the log field that it is made of is in no configured list.

    Type_Safe keeps a None only where the default is None (elsewhere it silently becomes 0, '' or {}), hence `= None`.
    """

    period_start      : str                 # ISO, UTC
    period_end        : str
    total_requests    : Safe_UInt
    unique_paths      : Safe_UInt = None
    unique_agents     : Safe_UInt = None
    unique_edges      : Safe_UInt = None
    status_breakdown  : dict      = None    # {'2xx': requests, ...}
    top_paths         : list      = None    # [{path, count, bytes}, ...]
    edge_distribution : dict      = None    # {edge: requests}
    cache_hit_rate    : float     = None    # percent, 2 decimals
    total_bytes       : Safe_UInt = None
    cache_key         : str
