"""Parts of scoring and filling: the gate on the input, the encoder, the back-test."""
