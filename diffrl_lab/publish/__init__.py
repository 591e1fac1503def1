"""What is generated for readers: lessons, pages, the README, tables of studies."""
