"""Input that ends, such as log files: from lines to final entries."""
