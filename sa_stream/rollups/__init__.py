"""What people read: partials merged into entries, finality, roll-ups, and the reconciler that publishes them."""
