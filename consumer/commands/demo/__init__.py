"""`sa-stream demo`: everything embedded."""
