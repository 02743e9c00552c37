"""Stand-ins for what is a service elsewhere: for the demo, a start without an account, and tests."""
