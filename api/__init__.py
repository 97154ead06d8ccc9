"""The service: FastAPI application, routes, store, jobs and web page. Not part of this version yet."""
