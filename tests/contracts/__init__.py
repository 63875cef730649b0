"""What every implementation of a port must do: each suite is run by the real one and its fake."""
