"""What can be driven, and who drives it: mazes, robots, small MDPs, agents, episodes."""
