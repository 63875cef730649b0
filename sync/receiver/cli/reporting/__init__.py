"""Reports: completeness, exports, and what is held of a thing that a person has in hand."""
