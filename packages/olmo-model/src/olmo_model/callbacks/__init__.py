"""Everything that happens beside the training, one module for each kind."""
