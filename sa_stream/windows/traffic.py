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
    for window in windows:
        known = 0
        for code, number in window.counts["status"].items():
            found[STATUS_CLASS, f"{code[0]}xx"] += number
            known += number
        found[STATUS_CLASS, NO_STATUS] += window.total_requests - known
        for result, number in window.counts["results"].items():
            found[RESULT_TYPE, result if result in RESULT_TYPES else OTHER_RESULT] += number
        found[BYTES, ""] += window.total_bytes
    return found
