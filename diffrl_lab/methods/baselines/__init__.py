"""What needs no training.

retrieval  Retrieval: the nearest recorded trajectory is followed
straight   PD straight to the goal, as if there were no walls: what needs no training at all
"""
