"""Reads the shards by itself, in one process."""
