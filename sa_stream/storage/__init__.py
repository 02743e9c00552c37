"""Where things are kept: the state store, and the cache service with its client."""
