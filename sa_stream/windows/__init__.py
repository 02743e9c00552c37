"""Columns to half hours: clocks, duplicates, what is vouched for, and the sums and sketches of a window."""
