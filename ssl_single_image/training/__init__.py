"""Running an objective: the loop and optimisers."""
