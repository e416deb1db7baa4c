"""Attribution methods: numpy and a `Predict` or a gradient in, numbers with their errors out."""
