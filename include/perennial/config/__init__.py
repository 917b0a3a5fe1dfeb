"""Configuration, validated once at the edge: settings from the environment, specs from YAML."""
