"""The stream of a simulated world: records, duplicates, late ones; splits, merges, and lists of shards that are old."""

import gzip
from collections.abc import Sequence
from itertools import pairwise

from sa_stream.embedded.memory_kinesis import Shard
from sa_stream.partitions import Shard_Info
from sa_stream.timing import HOUR_MS, MINUTE_MS, WINDOW_MS
from tests.oracle import CANONICAL
from tests.simulation.checks import POISON
from tests.simulation.parts import SECOND_MS, SKEW_MS_MAX, STREAM, Worker


class Traffic:
    """The part of a world that puts records into its stream."""

    def shards(self) -> list[Shard]:
        return self.kinesis.stream(STREAM).shards

    def put(self, payload: bytes, hash_key: int) -> None:
        shard_id, number = self.kinesis.put(STREAM, payload, "", hash_key_at=hash_key)
        if not self.replaced_ms:
            self.ledger.of(shard_id).take(int(number), payload, self.now_ms)
        if self.archive is not None:
            self.archive.put(payload)
        self.say("put", shard_id[-2:], number[-9:], payload[:14], payload[-60:-40] if payload[:1] == b"1" else "")

    def line(self, event_ms: int) -> bytes:
        rng = self.rng
        self.requests += 1
        n = self.requests
        if self.replaced_ms:
            self.strangers.add(f"/{n}")
        values = {
            "timestamp": f"{event_ms // 1000}.{event_ms % 1000:03d}",
            "sc-status": rng.choice(["200", "200", "304", "404", "503", "000"]),
            "sc-bytes": str(rng.randint(0, 5000)),
            "cs-method": rng.choice(["GET", "POST"]),
            "cs-protocol": "https",
            "cs-host": "www.example.org",
            "cs-uri-stem": f"/{n}",
            "x-edge-location": rng.choice(["LHR62-C1", "FRA2"]),
            "x-edge-request-id": "-" if rng.random() < 0.03 else f"request-{n}",
            "cs-user-agent": f"agent-{n % 7}",
            "time-taken": f"0.{rng.randint(0, 999):03d}",
            "time-to-first-byte": f"0.{rng.randint(0, 99):03d}",
            "x-edge-result-type": rng.choice(["Hit", "Miss", "Error"]),
        }
        x = rng.random()
        if x < 0.01:
            values["sc-status"] = "x"
        elif x < 0.02:
            values["timestamp"] = "-"
        line = "\t".join(values.get(name, "-") for name in CANONICAL)
        return (line + "\textra" if x > 0.985 else line).encode()

    def produce(self) -> None:
        """One record: mostly now, sometimes late, sometimes ahead of time, sometimes something again."""
        rng = self.rng
        lateness_ms = self.settings.allowed_lateness_ms
        x = rng.random()
        if self.options["very_late"] and rng.random() < 0.15:
            back_ms = rng.randint(lateness_ms, lateness_ms + 3 * WINDOW_MS)
        elif x < 0.78:
            back_ms = rng.randint(0, 50_000)
        elif x < 0.92:
            back_ms = rng.randint(0, 1_500_000)
        elif x < 0.98:
            back_ms = rng.randint(0, 3 * lateness_ms)
        else:
            back_ms = -rng.randint(0, self.timing.future_ms + 60_000)
        lines = [self.line(self.now_ms - back_ms)]
        if rng.random() < 0.05:
            lines.append(self.line(self.now_ms - rng.randint(0, 120_000)))
        payload = b"\n".join(lines) + b"\n"
        if rng.random() < self.options["poison"]:
            payload = payload.replace(b"\t/", b"\t" + POISON, 1)
        elif rng.random() < self.options["gzip"]:
            payload = gzip.compress(payload, mtime=0)
        hash_key = rng.getrandbits(128)
        self.put(payload, hash_key)
        self.recent.append((payload, hash_key, self.now_ms))
        if rng.random() < 0.2:
            again, key, at_ms = rng.choice(self.recent)
            if self.now_ms - at_ms < (300_000 if rng.random() < 0.9 else 1_200_000):
                self.put(again, key)

    def reshard(self) -> None:
        shards = self.kinesis.stream(STREAM).open_shards()
        shard = self.rng.choice(shards)
        if self.rng.random() < 0.55:
            children = list(self.kinesis.split(STREAM, shard.shard_id))
        else:
            other = next((s for s in shards if s.low == shard.high + 1), None)
            if other is None:
                return
            children = [self.kinesis.merge(STREAM, shard.shard_id, other.shard_id)]
        for child in children:
            self.ledger.start(child.shard_id, child.parents)
        self.say("reshard", [p[-2:] for p in children[0].parents], "into", [c.shard_id[-2:] for c in children])

    # ------------------------------------------------------------------ what is known of it

    def list_shards(self, worker: Worker | None = None, whole: bool = False) -> Sequence[Shard_Info]:
        """As this worker hears it: what it heard last may do for a while, and a closed shard may be missing for a
        moment, unless it must be `whole`."""
        if worker is None:
            return self._listed_now()
        self.answers()
        if self.faults and self.options["old_lists"] and self.now_ms < worker.shards_until_ms:
            return worker.shards
        if self.faults and self.options["stale_listing"] and self.listing and self.rng.random() < 0.3:
            return self.listing
        worker.shards = self.listing = self.list_anew(worker)
        if not self.faults:
            return worker.shards
        if self.options["old_lists"]:
            worker.shards_until_ms = self.now_ms + self.rng.randint(0, self.options["old_lists"]) * SECOND_MS
        closed = [shard for shard in worker.shards if shard.closed]
        if (
            closed
            and not whole
            and self.options["missing_shards"]
            and self.rng.random() < self.options["missing_shards"]
        ):
            lacking = self.rng.choice(closed)
            self.say("unlisted", lacking.shard_id[-2:], "for", worker.name)
            return [shard for shard in worker.shards if shard is not lacking]
        return worker.shards

    def kcl_lists(self, worker: Worker) -> Sequence[Shard_Info]:
        """What the KCL, which asks by itself, hears: what its worker has heard, or something newer."""
        if self.options["old_lists"] and self.now_ms < worker.shards_until_ms:
            return worker.shards
        return self._listed_now()

    def _listed_now(self) -> Sequence[Shard_Info]:
        page = self.kinesis.list_shards(STREAM)
        return [Shard_Info(s.shard_id, s.parents, s.closed_ms is not None) for s in page.shards]

    # ------------------------------------------------------------------ how long it keeps them

    def change_retention(self) -> None:
        """Not again before somebody has seen it: a value that nobody sees is nobody's to know."""
        stream = self.kinesis.stream(STREAM)
        if self.started_ms and self.observed[-1][1] != stream.retention_ms:
            return
        values = [hours * HOUR_MS for hours in (2, 3, 4, 8, 12) if hours * HOUR_MS != stream.retention_ms]
        self.kinesis.set_retention(STREAM, self.rng.choice(values))
        self.say("retention", stream.retention_ms // HOUR_MS, "hours")

    def horizon_ms(self) -> int:
        """What arrived before this is gone from the stream."""
        return self.kinesis.stream(STREAM).horizon_ms(self.now_ms)

    def vouch_floor_ms(self, now_ms: int) -> int:
        """From when on, at the latest, somebody who has just read everything must vouch. Of a retention that changed
        only the time is known at which somebody saw it."""
        past = [until_ms - retention_ms + SKEW_MS_MAX for (_, retention_ms), (until_ms, _) in pairwise(self.observed)]
        kept_ms = max([now_ms - retention_ms for _, retention_ms in self.observed[-2:]] + past)
        return kept_ms + self.timing.coverage_margin_ms + MINUTE_MS
