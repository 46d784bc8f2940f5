"""The study in the browser: pages for readers, a page for whoever runs it."""
