"""Methods that plan: a whole trajectory is diffused, then followed."""
