"""The service that every bento runs: one model version behind HTTP."""
