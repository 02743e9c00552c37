"""Steps on demand (ingest, consolidate, aggregate, archive) will stand here; nothing does yet."""
