"""The format of bundles that are carried by hand."""
