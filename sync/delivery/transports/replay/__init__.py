"""Protocol `replay`: the tills' own requests, to any backend with the loyalty API."""
