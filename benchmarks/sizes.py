"""How much is measured."""

from msgspec import Struct


class Sizes(Struct, frozen=True):
    """How much is measured. The targets are about the full sizes; quick ones only show that everything works."""

    records: int = 1_000_000
    plain_records: int = 4_000_000
    rounds: int = 5
    objects: int = 20_000
    full_shard_records: int = 1_800_000
    distinct_paths: int = 10_000_000
    kcl_shards: tuple[int, ...] = (1, 16, 64)  # idle ones; the first and the last give what one takes
    kcl_settle_s: float = 15  # until their memory is looked at
    kcl_records: int = 4_000  # the Kinesis emulator is slow with more
    kcl_singles: int = 200
    many_windows: int = 1_000
    slow_shards: tuple[int, int] = (1_000, 60)
    many_shards: tuple[int, int] = (16, 256)
    many_workers: int = 16
    health_shards: int = 1_000
    metrics_shards: int = 500
    days: tuple[int, int] = (7, 31)
    hours: int = 4
    archive_objects: int = 100_000
    small_files: int = 2_000
    readers_s: float = 60
    memory_of_files_bytes: int = 1_000_000_000


FULL = Sizes()
QUICK = Sizes(
    records=30_000,
    plain_records=60_000,
    rounds=1,
    objects=500,
    full_shard_records=30_000,
    distinct_paths=100_000,
    kcl_shards=(2,),
    kcl_settle_s=1,
    kcl_records=400,
    kcl_singles=3,
    many_windows=20,
    slow_shards=(4, 10),
    many_shards=(2, 4),
    many_workers=2,
    health_shards=10,
    metrics_shards=10,
    days=(1, 2),
    hours=1,
    archive_objects=1_500,
    small_files=60,
    readers_s=1,
    memory_of_files_bytes=20_000_000,
)
