"""Access of agents and readers: tokens, enrolment, session cookies."""
