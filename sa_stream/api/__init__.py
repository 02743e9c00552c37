"""The HTTP API and the dashboard will stand here; health is the daemon's own (consumer/health.py)."""
