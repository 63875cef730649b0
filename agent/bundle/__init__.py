"""`loyalty-agent support-bundle`: what support needs to know, and nothing that is secret."""
