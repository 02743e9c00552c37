"""Columns to half hours: clocks, duplicates, accumulators, summaries, and the format in which they are stored."""
