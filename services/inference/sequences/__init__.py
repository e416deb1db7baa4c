"""Requests that meet one state, in order."""
