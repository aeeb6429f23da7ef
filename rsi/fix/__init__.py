"""Fixing: plan → gate → apply → publish, proposals for people, and the way back."""
