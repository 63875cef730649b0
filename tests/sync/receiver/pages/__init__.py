"""The pages of head office: their words, their addresses, over HTTP, in a browser."""
