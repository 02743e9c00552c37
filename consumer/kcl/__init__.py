"""The Kinesis Client Library: its process is found, configured and watched here, and its shards reach the engine."""
