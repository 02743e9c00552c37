"""An aggregate entry: one period (30 minutes, an hour, a day, a month), as people read it from the cache."""

# mypy: disable-error-code="assignment, type-arg"

from osbot_utils.type_safe.primitives.core.Safe_UInt import Safe_UInt
from osbot_utils.type_safe.Type_Safe import Type_Safe

# fmt: off


class Schema__SA__Aggregate__Window(Type_Safe):
    """The seed's fields under their names, then what the stream adds.

    A value is None when the log field that it is made of is in no configured list (`missing_fields` names it), or when
    it has no meaning for the period. Type_Safe keeps a None only where the default is None (elsewhere it silently
    becomes 0, '' or {}), hence `= None`. Collections are plain: typed ones refuse what a roll-up may hold.
    """

    period                 : str                # 30min, hourly, daily, monthly
    time_key               : str                # 2026-02-16-1430, 2026-02-16-14, 2026-02-16, 2026-02
    status                 : str                # final, partial
    computed_at            : str                # ISO, UTC
    source_count           : Safe_UInt          # partitions (30min) or entries that were merged
    sources_final          : bool
    total_requests         : Safe_UInt
    unique_paths           : Safe_UInt = None
    status_breakdown       : dict      = None   # {'2xx': requests, ...}; only classes that occur
    top_paths              : list      = None   # [{path, count, bytes, hits, misses, status_4xx, ...}, ...]
    edge_distribution      : dict      = None   # {edge: requests}
    cache_hit_rate         : float     = None   # percent, 2 decimals: Hit alone
    total_bytes            : Safe_UInt = None
    avg_time_taken         : float     = None   # seconds
    avg_ttfb               : float     = None   # seconds

    window_start           : str                # ISO, UTC; belongs to the window
    window_end             : str                # ISO, UTC; belongs to the next
    revision               : Safe_UInt          # grows with each change of the content
    provenance             : str                # stream, files
    sources                : list               # what was merged
    missing_sources        : list               # what is still to come, each with its reason
    missing_fields         : list               # log fields in no configured list
    unique_agents          : Safe_UInt = None
    unique_edges           : Safe_UInt = None
    result_types           : dict      = None   # {result type: requests}
    result_field           : str       = None   # the log field that the result types are from
    served_from_cache_rate : float     = None   # percent: Hit, RefreshHit, OriginShieldHit
    methods                : dict      = None
    protocols              : dict      = None
    hosts                  : dict      = None
    percentiles            : dict      = None   # {time_taken, ttfb: {p50, p90, p95, p99, max, count}}, seconds
    late_records           : Safe_UInt = None
    duplicate_records      : Safe_UInt = None
    invalid_records        : Safe_UInt = None   # those that arrived during the window; stream only
    per_minute             : dict      = None   # 30min only: 30 numbers each
    sampling_rate          : float     = None   # percent of the requests that are logged
    scaled                 : dict      = None   # counts, as if all requests were logged
    errors                 : dict      = None   # the bound of every estimate; 0 where exact
    summary                : str       = None   # key of the mergeable summary in the state store
    cache_key              : str

    schema_version         : Safe_UInt          # 2; an entry without it has nothing of what follows
    rules                  : str       = None   # versions of what agents were classified by
    agent_classes          : dict      = None   # {human, bot_known, bot_generic, unknown: requests}
    bots                   : list      = None   # [{name, count, bytes, ai}, ...]
    browsers               : dict      = None   # {family: requests of humans}
    systems                : dict      = None
    devices                : dict      = None
    referrers              : dict      = None   # {host: requests}
    content_types          : dict      = None
    kinds                  : dict      = None   # {page, api, asset, download, other: requests}
    page_views             : Safe_UInt = None
    http_versions          : dict      = None
    tls_versions           : dict      = None
    cities                 : dict      = None   # {'Frankfurt, DE': requests}
    status_codes           : dict      = None   # {code: requests}
    top_error_paths        : dict      = None   # {status_4xx, status_5xx: [{path, that, count}, ...]}
    top_missed_paths       : list      = None   # [{path, misses, count}, ...]
    top_bytes_paths        : list      = None   # [{path, bytes, count}, ...]
    path_groups            : dict      = None   # {first segment: requests}
    origin_latency         : dict      = None   # {p50, p90, p95, p99, max, avg, count}, seconds
    countries              : dict      = None   # only with ALLOW_FIELDS: {country, '(few)': requests}
    per_half_hour          : dict      = None   # daily only: 48 of each, with `state` and `reason`
    per_day                : dict      = None   # monthly only
