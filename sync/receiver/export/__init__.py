"""What leaves head office as a file: the tables that people read, in formats for their tools."""
