"""What the consumer is doing, and whether that is good enough."""
