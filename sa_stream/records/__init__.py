"""Bytes to columns: field lists, parser, privacy guard, dead letters."""
