"""The optimizers, the groups of weights they move, and the bound of the gradient."""
