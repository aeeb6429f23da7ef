"""Adapters: one file per framework or door. They import little of rsi and nothing of one another."""
