"""The HTTP API and the dashboard will stand here; health is the daemon's own (sa_stream/health/notebook.py)."""
