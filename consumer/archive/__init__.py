"""The archive as the source: windows are computed from its files, and there is no stream."""
