"""The real agent: in the test's process, in a child process, and its store alone."""
