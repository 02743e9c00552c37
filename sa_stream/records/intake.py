"""How records are read, and what of them is kept: the settings of an application, which are the same for all its
partitions."""

from dataclasses import dataclass, field

import xxhash

from sa_stream.records.columns import REASONS
from sa_stream.records.fields import Field_Lists
from sa_stream.records.privacy import Path_Rules
from sa_stream.timing import Timing

# Grows when the same records and settings give another window, also by another list of top-level domains: one key must
# not name two contents.
READING = 2


@dataclass(frozen=True, slots=True)
class Intake:
    """lists  what each field of a line is; `rules`: what paths are stored as

    keep_text  dead letters have the text of their records
    """

    lists: Field_Lists
    rules: Path_Rules = field(default_factory=Path_Rules)
    keep_text: bool = False

    def settings(self, timing: Timing) -> str:
        """What decides the content of a window, besides its records."""
        lists = [fields.names for fields in self.lists.lists]
        content = (READING, timing.content, lists, sorted(self.lists.dropped), self.rules.rules, REASONS)
        return xxhash.xxh3_64_hexdigest(repr(content).encode())
