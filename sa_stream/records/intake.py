"""How records are read, and what of them is kept: the settings of an application, which are the same for all its
partitions."""

import xxhash
from msgspec import Struct, field

from sa_stream.records.agents import RULES_VERSION
from sa_stream.records.columns import REASONS
from sa_stream.records.fields import Field_Lists
from sa_stream.records.privacy import Path_Rules
from sa_stream.timing import Timing

# Grows when the same records and settings give another window, also by another list of top-level domains: one key must
# not name two contents.
READING = 3


class Intake(Struct, frozen=True):
    """lists  what each field of a line is; `rules`: what paths are stored as

    keep_text       dead letters have the text of their records
    internal_hosts  hosts from which nobody comes from outside, beside the one that is asked
    """

    lists: Field_Lists
    rules: Path_Rules = field(default_factory=Path_Rules)
    keep_text: bool = False
    internal_hosts: frozenset[str] = frozenset()

    def settings(self, timing: Timing) -> str:
        """What decides the content of a window, besides its records."""
        lists = [fields.names for fields in self.lists.lists]
        internal = sorted(self.internal_hosts)
        dropped, rules = sorted(self.lists.dropped), (self.rules.rules, RULES_VERSION)
        content = (READING, timing.content, lists, dropped, rules, REASONS, internal)
        return xxhash.xxh3_64_hexdigest(repr(content).encode())
