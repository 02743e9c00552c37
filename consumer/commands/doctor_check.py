"""What a check of `sa-stream doctor` is, whatever it looks at."""

from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct

from sa_stream.config import PREFIX, SA__Config
from sa_stream.errors import Config_Error, SA_Stream_Error, Source_Error
from sa_stream.records.decoder import portions
from sa_stream.records.field_finder import First_Records, decide
from sa_stream.records.fields import preset_name, result_field
from sa_stream.records.parser import Parser
from sa_stream.secrecy import without_secrets
from sa_stream.sources.source_clock import Source_Clock
from sa_stream.timing import CLOCK_OFF_MS_MAX, wall_clock_ms

SAMPLE_RECORDS = 200
MALFORMED_SHARE_MAX = 0.5


class Check(Struct, frozen=True):
    """One thing that was looked at. `sentence` says what was found or what to change.

    warning  it works, and is hardly as it should be
    """

    name: str
    ok: bool
    sentence: str
    warning: bool = False


class Warned(str):
    """What a look has found, if that is hardly as it should be."""


def checked(name: str, look: Callable[[], str]) -> Check:
    try:
        found = look()
    except (SA_Stream_Error, OSError) as error:
        return Check(name, False, without_secrets(str(error)))
    return Check(name, True, found, isinstance(found, Warned))


def clock_of(source: str, clock: Source_Clock) -> str:
    """Whether ours agrees with the source's. Raises Source_Error if not."""
    if abs(clock.offset_ms) > CLOCK_OFF_MS_MAX:
        side = "behind" if clock.offset_ms > 0 else "ahead of"
        raise Source_Error(
            f"this machine's clock is {abs(clock.offset_ms) // 1000} s {side} {source}'s: set it (NTP), as AWS refuses "
            "requests that are signed more than five minutes off"
        )
    return f"agrees with {source}'s to a few seconds"


def field_order(config: SA__Config, payloads: Sequence[bytes]) -> str:
    """Which field list reads these records. Raises Field_List_Error if `auto` cannot tell, Config_Error if the
    configured lists do not fit."""
    records = First_Records.of(payload for portion in portions(payloads) for payload in portion.payloads)
    lists = decide(config.field_lists(), records)
    malformed = total = 0
    for columns in Parser(lists).portions(payloads, np.full(len(payloads), wall_clock_ms(), np.int64)):
        malformed += len(columns.dropped)
        total += len(columns) + len(columns.dropped)
    if malformed > MALFORMED_SHARE_MAX * total:
        raise Config_Error(
            f"{PREFIX}FIELDS does not fit: {malformed} of {total} records are malformed under it. Set it to the field "
            "names of your real-time log configuration, in the order in which they come."
        )
    named = " and ".join(f"{preset_name(fields)} ({fields.count} fields)" for fields in lists.lists)
    results = result_field(lists.offered) or "no field of the list"
    return f"read as {named}, hit rates from {results}; {total - malformed} of {total} records are well-formed"
