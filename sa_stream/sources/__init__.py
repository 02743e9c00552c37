"""Where records come from: Kinesis, the messages of the KCL, log files."""
