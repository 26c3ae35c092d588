"""Tuning of the settings of architectures by Optuna (extra `tune`)."""
