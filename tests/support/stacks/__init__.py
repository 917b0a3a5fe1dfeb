"""Projects for stacks of a test's own, and the Compose file as Compose reads it."""
