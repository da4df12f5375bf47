"""The commands of ``ddctl``, one module for each kind."""
