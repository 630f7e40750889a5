"""Scrape of `/metrics`: its formats, and the numbers that are taken when it is made.

`exposition` writes the format that the scraper asks for. `process_usage` reads the process from the operating system.
`busiest_account` counts the refusals of single accounts, since no metric may have an account as its label.

Imports nothing of `observe`, which imports it.
"""
