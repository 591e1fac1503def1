"""Methods that act: an action or a chunk of actions is drawn at each state."""
