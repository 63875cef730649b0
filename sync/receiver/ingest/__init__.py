"""A batch at head office: parsed, looked up, judged and written."""
