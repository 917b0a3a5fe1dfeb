"""A monitored model in a made-up world, and replays."""
