"""Commands that report: completeness, export and find."""
