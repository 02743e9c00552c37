"""What was counted of the traffic lately, whatever time it is of: for rates by the time of processing. Windows come in
before and after a fold, the difference goes out. Nobody stores it.
"""

from collections import Counter
from collections.abc import Iterable

from sa_stream.windows.window import Window

type Traffic = Counter[tuple[str, str]]  # (kind, value) -> so many

STATUS_CLASS, RESULT_TYPE, BYTES = "status_class", "result_type", "bytes"  # kinds; of BYTES the only value is ''
NO_STATUS, OTHER_RESULT = "none", "other"
# What CloudFront is known to write. A stranger's or a shifted column's value must not become a series of its own.
RESULT_TYPES = (
    *("Hit", "RefreshHit", "OriginShieldHit", "Miss", "Error", "Redirect", "LimitExceeded", "CapacityExceeded"),
    *("FunctionGeneratedResponse", "FunctionExecutionError", "FunctionThrottledError"),
)


def traffic_of(windows: Iterable[Window]) -> Traffic:
    """The sum over some windows."""
    found: Traffic = Counter()
    requests, statuses, results = 0, dict[str, int](), dict[str, int]()
    for window in windows:
        requests += window.total_requests
        found[BYTES, ""] += window.total_bytes
        for kind, total in (("status", statuses), ("results", results)):
            for value, number in window.counts[kind].items():
                total[value] = total.get(value, 0) + number
    for code, number in statuses.items():
        found[STATUS_CLASS, f"{code[0]}xx"] += number
    found[STATUS_CLASS, NO_STATUS] += requests - sum(statuses.values())
    for result, number in results.items():
        found[RESULT_TYPE, result if result in RESULT_TYPES else OTHER_RESULT] += number
    return found
