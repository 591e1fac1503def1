"""What needs no training."""
