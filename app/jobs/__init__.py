"""Distillation jobs: their life, their queue and their REST resource.

A request becomes a job in three steps: ``reading`` makes a submission of it, ``admission`` judges what that would cost,
and ``submitting`` queues it. ``lookup`` shows the jobs that there are, ``verbs`` acts on them, and ``refusals`` says
why something cannot be done. ``transactions`` holds each of these in a transaction, for routes and pages.
"""
