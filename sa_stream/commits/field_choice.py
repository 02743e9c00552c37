"""Which field list a stream's records have: as configured, checked against the first records, or found from them."""

import json
from collections.abc import Sequence

from sa_stream.commits.protocol import Store
from sa_stream.errors import Field_List_Error
from sa_stream.log import FIELDS, Log
from sa_stream.records.fields import CANONICAL, SEED, detect, preset_name, resolve_field_lists

log = Log("fields")

KEY = "meta/fields"  # what `auto` decided: every worker and every restart reads the records the same way


class Field_Choice:
    """Holds records back until it is known how to read them.

    lists  the field lists; their `lists` are empty while `auto` waits for the first records
    """

    def __init__(self, setting: str, drop_fields: str, store: Store) -> None:
        self.lists = resolve_field_lists(setting, drop_fields)
        self._store = store
        self._auto = self.lists.auto
        self._preset = setting if setting in ("seed", "canonical") else ""
        self.checked = not (self._auto or self._preset)
        self._drop_fields = drop_fields
        if self._auto:
            self._restore()

    def _restore(self) -> None:
        decided = self._store.get(KEY)
        if decided is not None:
            self.lists = resolve_field_lists(json.loads(decided)["fields"], self._drop_fields)
            self.checked = True

    def decide(self, lines: Sequence[bytes]) -> None:
        """Look at the first records. Raises Field_List_Error if they fit no list, or clearly another one;
        Store_Unavailable if what was decided could not be written down: decide again."""
        if self._preset:
            self._contradict(lines)
        else:
            decided = self.lists.decide(lines)
            name = preset_name(decided.lists[0])
            if not self._store.create(KEY, json.dumps({"fields": name}).encode()):
                return self._restore()  # another worker was first: all read the records the same way
            self.lists = decided
            log.tell(FIELDS, f"the first records have the field list '{name}'", fields=name)
        self.checked = True

    def _contradict(self, lines: Sequence[bytes]) -> None:
        try:
            found = detect(lines)
        except Field_List_Error:
            return  # the records fit neither preset clearly: malformed ones will be counted and reported
        other = {SEED: "seed", CANONICAL: "canonical"}[found.names]
        if other != self._preset:
            raise Field_List_Error(
                f"SGRAPH_SEND__SA_FIELDS is {self._preset}, but the first records have the order of '{other}': set it "
                f"to {other} or auto, or every record will be counted as malformed"
            )
