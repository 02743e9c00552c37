"""Where records come from: Kinesis, log files, the traffic generator, the in-memory Kinesis."""
