"""The tools that a planner, a person's commands and other programs use: typed, bounded, guarded."""
