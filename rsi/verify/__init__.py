"""Verifying: feed the trial, say the verdict, and say when the arms act on one another."""
