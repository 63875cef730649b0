"""The contract between agent and head office: messages, locales, equality, masking."""
