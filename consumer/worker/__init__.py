"""What one worker does, whoever reads the shards for it."""
