"""What every room says of the archive of log files: where its files lie, and which windows they may hold. Pure."""
