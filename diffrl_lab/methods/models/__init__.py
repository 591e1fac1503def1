"""World models: what the world does next, learned from recordings."""
