"""Hyperparameter search: a job whose trials are training jobs, chosen and pruned by Optuna."""
