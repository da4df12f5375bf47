"""Pure functions over tensors: the formulas that methods, regularisers and scores share."""
