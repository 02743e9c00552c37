"""What concerns a process as such: logs, signals, memory, terminal, and who watches over it."""
