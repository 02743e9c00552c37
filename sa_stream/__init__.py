"""sa-stream: CloudFront real-time logs in, final traffic statistics out. Start with docs/architecture.md."""

__version__ = "0.1.0"
