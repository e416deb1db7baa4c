"""Finds out how a model is served best on this machine, by serving it in every likely way.

python -m services.inference.tune --store-uri ./models --model lenet5 --p99-ms 5
"""
