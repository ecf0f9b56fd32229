"""Processes that cells start: what they display reaches the notebook."""
