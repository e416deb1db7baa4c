"""From a trained network to a published version: graph, parity, golden outputs, model card."""
