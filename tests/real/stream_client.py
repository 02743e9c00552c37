"""A stream as a client sees it that is nobody's code under test."""

from typing import Any


class Stream_Client:
    """client  boto3's, of Kinesis"""

    def __init__(self, client: Any, name: str) -> None:
        self.client = client
        self.name = name

    def shards(self) -> list[dict[str, Any]]:
        """By id, so that parents come before children."""
        return sorted(self.client.list_shards(StreamName=self.name)["Shards"], key=lambda shard: shard["ShardId"])

    def open_shards(self) -> list[dict[str, Any]]:
        """By their hash keys, so that neighbours are neighbours."""
        opened = [shard for shard in self.shards() if "EndingSequenceNumber" not in shard["SequenceNumberRange"]]
        return sorted(opened, key=lambda shard: int(shard["HashKeyRange"]["StartingHashKey"]))

    def records(self, shard_id: str) -> list[tuple[bytes, int, str]]:
        """(payload, arrival in ms, sequence number) of everything in a shard."""
        which = {"StreamName": self.name, "ShardId": shard_id, "ShardIteratorType": "TRIM_HORIZON"}
        iterator = self.client.get_shard_iterator(**which)["ShardIterator"]
        found: list[tuple[bytes, int, str]] = []
        while iterator:
            answer = self.client.get_records(ShardIterator=iterator)
            for record in answer["Records"]:
                arrival_ms = round(record["ApproximateArrivalTimestamp"].timestamp() * 1000)
                found.append((record["Data"], arrival_ms, record["SequenceNumber"]))
            iterator = answer.get("NextShardIterator") if answer["MillisBehindLatest"] else None
        return found

    def split(self, shard: dict[str, Any]) -> None:
        low, high = (int(shard["HashKeyRange"][name]) for name in ("StartingHashKey", "EndingHashKey"))
        middle = str((low + high + 1) // 2)
        self.client.split_shard(StreamName=self.name, ShardToSplit=shard["ShardId"], NewStartingHashKey=middle)

    def merge(self, left: dict[str, Any], right: dict[str, Any]) -> None:
        self.client.merge_shards(
            StreamName=self.name, ShardToMerge=left["ShardId"], AdjacentShardToMerge=right["ShardId"]
        )
