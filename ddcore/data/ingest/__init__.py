"""From a user's files to a set of one size: the pipeline and its steps."""
