"""What the consumer answers over HTTP. The API and the dashboard will stand here too."""
