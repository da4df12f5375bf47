"""Training of networks, on real or synthetic images."""
