"""The Open Inference Protocol on the wire side: messages in, messages out."""
