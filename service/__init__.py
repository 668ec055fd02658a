"""HTTP service, command line and store of 民声. Depends on nlp; nlp never depends on it."""
