"""The verbs of the loop, one per file; each may be killed half-way and run again."""
