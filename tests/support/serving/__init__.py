"""Small models, their bentos, the gateway, and load on it."""
