"""Exactly once: what a partition commits, in which order, and how it recovers."""
