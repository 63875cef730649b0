"""What monitoring systems ask: a verdict, a line, metrics; also of an agent that does not run."""
