"""Commands for bundles that are carried by hand."""
