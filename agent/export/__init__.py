"""Export: what is undelivered, in a file that is sealed for head office and carried by hand."""
