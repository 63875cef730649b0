"""Tests of the web pages: messages, URLs, HTTP, and a real browser."""
