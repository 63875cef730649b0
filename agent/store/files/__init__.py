"""Files beside the database: lock, high-water mark, ballast, atomic writes."""
