"""What goes wrong in a simulated world from outside: crashes, pauses, outages, objects that are lost."""

from datetime import UTC, datetime

from msgspec.structs import replace

from sa_stream.commits.keys import has_snapshot
from sa_stream.rollups.periods import end_of, parse_cache_key
from sa_stream.timing import MINUTE_MS, WINDOW_MS
from tests.simulation.parts import SECOND_MS, Worker


class Misfortune:
    """The part of a world that harms it."""

    def crash(self, worker: Worker) -> None:
        """The process is gone. Calls that were under way may still take effect, now or later."""
        for task in [task for task in self.tasks if task.worker is worker]:
            self.end_task(task)
            if task.pending is not None and self.rng.random() < 0.5:
                self.haunt(task.pending)
        for link in self.links:
            link.dead |= link.worker is worker
        worker.alive = False
        self.say("crash", worker.name)

    def _misfortune(self) -> None:
        rng, options = self.rng, self.options
        for name, worker in list(self.workers.items()):
            if not worker.alive and rng.random() < 0.05:
                self.spawn(name)
        worker = rng.choice(list(self.workers.values()))
        x = rng.random()
        if x < options["crashes"] / 3:
            if worker.alive and not worker.leaving:  # SIGTERM
                worker.leaving = True
                for link in self.links:
                    if link.worker is worker and not link.dead:
                        self.ask_to_finish(link)
        elif x < options["crashes"]:
            if worker.alive:
                self.crash(worker)
        elif x < options["crashes"] + 0.008:
            choices = [30, 120, 400] + [3600, 7200] * options["long_pauses"]
            choices += [4 * 3600, 7 * 3600] * options["longer_pauses"]
            until_ms = self.now_ms + rng.choice(choices) * SECOND_MS
            worker.paused_until_ms = max(worker.paused_until_ms, until_ms)
            x = rng.random()
            if x < 0.5:
                worker.jvm_paused_until_ms = until_ms
            if x < 0.25 and options["clocks"] and worker.alive:  # the whole machine
                worker.clock.stand_still(self.now_ms, worker.paused_until_ms)
            self.say("pause", worker.name, until_ms - self.now_ms)
        elif options["cache_outage"] and x > 0.999:
            self.no_cache_until_ms = self.now_ms + rng.randint(1, 30) * MINUTE_MS
            self.say("cache outage")
        elif options["state_outage"] and x > 0.998:
            self.no_state_until_ms = self.now_ms + rng.randint(1, 10) * MINUTE_MS
            self.say("state outage")
        if options["settings"] and rng.random() < 0.003:
            self.change_settings()
        if options["clocks"] and rng.random() < 0.01:
            self.clock_steps(worker)
        if rng.random() < options["throttled"]:
            shard_id = rng.choice(self.shards()).shard_id
            self.throttled_until_ms[shard_id] = self.now_ms + rng.choice([2, 20, 60, 300]) * MINUTE_MS
            self.say("throttled", shard_id[-2:])
        if options["retention"] == "any" and rng.random() < (0.01 if options["backlog"] else 0.003):
            self.change_retention()
        if self.archive is not None:
            self.archive.misfortune()
        self._losses()

    def change_settings(self) -> None:
        """Whoever starts from now on has others; mostly all start anew at once."""
        rng = self.rng
        self.settings = replace(
            self.settings,
            allowed_lateness_ms=rng.choice([20, 60, 240, 360]) * MINUTE_MS,
            out_of_orderness_ms=rng.choice([20, 60, 120]) * SECOND_MS,
            dedupe_horizon_minutes=rng.choice([4, 10, 20]),
        )
        self.out_of_orderness_ms = min(self.out_of_orderness_ms, self.settings.out_of_orderness_ms)
        self.say("settings", *self.settings.content)
        if rng.random() < 0.7:
            for worker in self.workers.values():
                if worker.alive:
                    self.crash(worker)

    # ------------------------------------------------------------------ objects that are lost

    def _losses(self) -> None:
        rng, options = self.rng, self.options
        if rng.random() < options["lost_snapshots"]:
            self.lose("snapshots/")
        for name, prefix in (
            ("lost_partials", "partials/"),
            ("lost_progress", "progress/"),
            ("lost_summaries", "summaries/"),
            ("torn_secrets", "secrets/"),
            ("lost_repairs", "repairs/"),
        ):
            if options[name] and rng.random() < options[name]:
                self.lose(prefix)

    def lose(self, prefix: str) -> None:
        """One object is gone, or torn. Secrets are only torn: of one that is gone nobody knows that there was one."""
        found = self.store.snapshots() if prefix == "snapshots/" else [one.key for one in self.store.list(prefix)]
        keys = list(found)
        if not keys:
            return
        if prefix == "partials/" and self.rng.random() < 0.5:
            keys = keys[-8:]  # of windows that still take records
        key = self.rng.choice(keys)
        data = self.store.objects[key]
        self.store.damage(
            key, self.rng.choice([None, data[:-3], data[:30]] if prefix != "secrets/" else [data[:5], b""])
        )
        self.say("lost", key)
        parts = key.split("/")
        self.broken.add(key)
        if prefix == "snapshots/" or has_snapshot(key):
            self.damaged.add(parts[1])
        if prefix == "snapshots/":
            return
        if prefix == "progress/":
            self.excused_ms = max(self.excused_ms, self.now_ms)
        elif prefix == "partials/":
            self.damaged.add(parts[2])
            self.spoilt.add(parse_window_label(parts[1]))
        elif prefix == "secrets/":
            self.secrets_torn = True
            for worker in self.workers.values():  # it takes a power cut, which nobody lives through
                if worker.alive:
                    self.crash(worker)
            self.excused_ms = max(self.excused_ms, self.now_ms)
        elif prefix == "summaries/":
            period, start_ms = parse_cache_key("/".join(parts[1:-1]))
            self.spoilt.update(range(start_ms, end_of(period, start_ms), WINDOW_MS))


def parse_window_label(label: str) -> int:
    return int(datetime.strptime(label, "%Y-%m-%dT%H%M").replace(tzinfo=UTC).timestamp()) * 1000
