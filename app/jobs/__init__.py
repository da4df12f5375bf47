"""Distillation jobs: their life, their queue and their REST resource."""
