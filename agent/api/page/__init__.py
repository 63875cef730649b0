"""The agent's own page, `/`: status, plots, captures and rejections for people in a store."""
