"""What every database behind the receiver has to do: one suite, run on each of them."""
