"""Who runs when, and with whom: queues, batches, limits, the response cache."""
